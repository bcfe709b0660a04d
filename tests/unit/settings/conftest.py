"""What every test of the settings starts from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine's environment, and no folder of the current one, has a say."""
    for name in [name for name in os.environ if name.startswith("TTRL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
