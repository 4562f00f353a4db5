#!/usr/bin/env python3
"""`text-generation-launcher` of the image `gaudi`, where it comes first in PATH."""

from tgi_autoround.tgi.launcher.gaudi import main

main()
