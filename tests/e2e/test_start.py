"""What ``ttrl-serve`` says when its engine cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import MODEL


@pytest.mark.slow
def test_an_engine_that_cannot_start_ends_the_service_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ttrl_server.commands.serve", "--model", str(MODEL)]
    command += ["--hardware", "cpu", "--port", "0", "--run-dir", str(tmp_path / "run")]
    command += ["--adapters.dir", str(tmp_path / "adapters"), "--", "--no-such-flag"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    log = tmp_path / "run" / "logs" / "engine0.log"
    said = f"ttrl-serve: the engine did not start in 3 tries: see {log}"
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (2, said)
    assert "--no-such-flag" in log.read_text()
