"""A model directory written by transformers 5 -> one that TGI 3.3.7, which holds transformers 4.51, reads as well."""

from pathlib import Path

from tgi_autoround.checkpoint.compat import repaired_files
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.quantize.jsonfile import write_json


def repair_directory(directory: Path) -> None:
    """Repair the files of a model directory in place, but for what TGI could not serve anyway."""
    try:
        repaired = repaired_files(directory)
    except UnsupportedError:
        return
    for name, content in repaired.items():
        write_json(directory / name, content)
