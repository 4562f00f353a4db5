#!/usr/bin/env python3
"""In the place of TGI's launcher: notes how it was started, is healthy on its port, ends in order on SIGTERM.

With FAKE_LAUNCHER_EXIT_CODE set it ends with that code at once.
"""

import json
import os
import signal
import sys
from argparse import ArgumentParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NOTES = Path("/tmp/launcher.json")


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()


def end_in_order(*_: object) -> None:
    sys.stdout.write("SIGTERM\n")
    sys.exit(0)


signal.signal(signal.SIGTERM, end_in_order)
notes = json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ)})
NOTES.write_text(notes)
if "FAKE_LAUNCHER_EXIT_CODE" in os.environ:
    sys.stdout.write(notes)
    sys.exit(int(os.environ["FAKE_LAUNCHER_EXIT_CODE"]))
parser = ArgumentParser(allow_abbrev=False)
parser.add_argument("--port", type=int, default=os.environ["PORT"])
HTTPServer(("", parser.parse_known_args()[0].port), Health).serve_forever()
