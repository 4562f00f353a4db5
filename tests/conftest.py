"""Fixtures that more than one part's tests use."""

from pathlib import Path

import pytest

from tests.models import make_llama


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float16 Llama of two layers (read it, never write into it)."""
    return make_llama(tmp_path_factory.mktemp("models") / "tiny-llama")
