"""What ``ttrl-serve`` says when its engine cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import MODEL


@pytest.mark.slow
def test_an_engine_that_cannot_start_ends_the_service_with_one_line(tmp_path: Path) -> None:
    settings = [
        "--model",
        str(MODEL),
        "--hardware",
        "cpu",
        "--port",
        "0",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    command = [
        sys.executable,
        "-m",
        "ttrl_server.commands.serve",
        *settings,
        "--adapters.dir",
        str(tmp_path / "adapters"),
    ]
    done = subprocess.run(
        [*command, "--", "--no-such-flag"], capture_output=True, text=True, timeout=200, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert (
        last == "ttrl-serve: the engine did not start in 3 tries: see "
        f"{tmp_path / 'run' / 'logs' / 'engine0.log'}"
    )
    assert "--no-such-flag" in (tmp_path / "run" / "logs" / "engine0.log").read_text()
