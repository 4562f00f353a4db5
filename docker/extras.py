"""Print the requirements of the named extras of pyproject.toml, one a line.

The image installs them before the package itself, so that a change of our source leaves their layer cached.
"""

import sys
from pathlib import Path

import tomllib

extras = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
sys.stdout.writelines(f"{requirement}\n" for name in sys.argv[1:] for requirement in extras[name])
