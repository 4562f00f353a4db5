"""Load tests of LLM servers under Locust.

    locust -f loadtest/locustfile.py --scenario chat --headless --host http://127.0.0.1:8080

The scenario says who asks what and how often; Locust's own flags (-u, -r, -t, --processes, --master, --html ...) work
as ever. docs/loadtest.md has the rest.
"""

import sys
from pathlib import Path

from locust import events

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from loadtest.llmload.users import LoadUser
from loadtest.options import add_options
from loadtest.shell import set_up

__all__ = ["LoadUser"]

events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(set_up)
