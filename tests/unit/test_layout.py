"""How the house is kept: no dead figures, light front doors."""

from __future__ import annotations

import re

import pytest
from prometheus_client.metrics import MetricWrapperBase

from tests.conftest import HEAVY, ROOT, python
from ttrl_server.telemetry import metrics


def test_every_metric_is_moved_somewhere() -> None:
    names = [name for name, found in vars(metrics).items() if isinstance(found, MetricWrapperBase)]
    assert len(names) > 5
    paths = (ROOT / "ttrl_server").rglob("*.py")
    elsewhere = "\n".join(path.read_text() for path in paths if path.name != "metrics.py")
    moved = r"metrics\.{}\.(?:labels\(.{{1,200}}?\)\.)?(?:inc|dec|set|observe|time)\("
    still = [name for name in names if not re.search(moved.format(name), elsewhere, re.DOTALL)]
    assert still == []


@pytest.mark.parametrize(
    "module",
    [
        "ttrl_server.settings.sources",
        "ttrl_server.commands.serve",
        "ttrl_server.training.worker",
        "ttrl_client.cli",
    ],
)
def test_a_front_door_opens_without_a_heavy_library(module: str) -> None:
    done = python("-c", f"import sys, {module}\nprint(sorted({HEAVY} & set(sys.modules)))")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
