"""One real server on the demo model for all load tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.live import LiveServer

DEMO_MODEL = Path(__file__).parents[2] / "assets/demo-model"


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(DEMO_MODEL, tmp_path_factory.mktemp("server") / "log.txt")
    yield server
    server.close()
