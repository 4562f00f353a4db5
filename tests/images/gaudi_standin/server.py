#!/usr/bin/python3
"""TGI's own command, as pip writes it."""

import sys

from text_generation_server.cli import app

sys.exit(app())
