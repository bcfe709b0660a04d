"""A new ledger."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from ttrl_server.registry.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Its clock says 0.0, 1.0, 2.0, …"""
    ticks = itertools.count()
    opened = Ledger(tmp_path / "adapters", clock=lambda: float(next(ticks)))
    yield opened
    opened.close()
