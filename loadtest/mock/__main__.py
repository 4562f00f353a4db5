"""`python -m loadtest.mock`: serve until interrupted."""

import asyncio
import contextlib

from loadtest.mock.server import serve
from loadtest.mock.settings import parse

with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(serve(parse()))
