"""What every test of the settings starts from."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from ttrl_server.settings import sources
from ttrl_server.settings.config import Config

CPU = "--model org/tiny --hardware cpu"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine's environment, and no folder of the current one, has a say."""
    for name in [name for name in os.environ if name.startswith("TTRL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def parse(line: str) -> Config:
    """The settings that follow ``ttrl-serve`` on a command line."""
    return sources.parse(shlex.split(line)).config


def written(text: str) -> str:
    """The name of a YAML file in the current folder that holds ``text``."""
    Path("settings.yaml").write_text(text)
    return "settings.yaml"
