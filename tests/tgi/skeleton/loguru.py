"""TGI's servers log by loguru; here by the standard library, which pytest can read."""

import logging

logger = logging.getLogger("loguru")
logger.setLevel(logging.INFO)
