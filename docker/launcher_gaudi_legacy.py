#!/usr/bin/env python3
"""`text-generation-launcher` of the image `gaudi-legacy`, where it comes first in PATH."""

from tgi_autoround.tgi.launcher.command import main
from tgi_autoround.tgi.legacy.launcher import plan

main(plan)
