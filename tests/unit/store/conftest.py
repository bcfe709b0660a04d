"""A store on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.store.build import Clock
from ttrl_server.store import Experiences


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'run' / 'store.sqlite'}"


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Experiences]:
    opened = Experiences(url, clock=clock)
    yield opened
    opened.close()
