"""How the house is kept: small rooms, no dead figures, light front doors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "ttrl_server"
HEAVY = {"torch", "vllm", "transformers", "deepspeed", "peft"}


def sources() -> list[Path]:
    return sorted(SERVER.rglob("*.py"))


def test_every_metric_is_moved_somewhere() -> None:
    home = SERVER / "telemetry" / "metrics.py"
    names = re.findall(
        r"^([A-Z_]+) = (?:Counter|Gauge|Histogram)\(", home.read_text(), re.MULTILINE
    )
    assert len(names) > 5
    elsewhere = "\n".join(path.read_text() for path in sources() if path != home)
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
    code = f"import sys, {module}\nprint(sorted({HEAVY} & set(sys.modules)))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "clients")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
