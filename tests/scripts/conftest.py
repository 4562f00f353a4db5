from pathlib import Path

import pytest

from tests.scripts.servers_to_patch import Server, new_server


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return new_server(tmp_path)
