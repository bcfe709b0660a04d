"""Each example, run as a person would run it, against the fake server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.client.fake_openai import KEY, FakeServer

EXAMPLES = Path(__file__).parents[3] / "clients" / "examples"


def run(command: list[str], server: FakeServer) -> str:
    environment = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name", ["openai_sync.py", "openai_async.py", "openai_streaming.py", "langchain_chat.py"]
)
def test_a_python_example_prints_the_answer_and_the_evidence(name: str, server: FakeServer) -> None:
    if name.startswith("langchain"):
        pytest.importorskip("langchain_openai")
    server.version = 3
    printed = run([sys.executable, str(EXAMPLES / name)], server)
    assert "56" in printed or "54" in printed
    assert "majority_ratio" in printed
    assert "tiny@v3" in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_prints_the_answer_the_evidence_and_the_status(server: FakeServer) -> None:
    server.version = 3
    printed = run(["sh", str(EXAMPLES / "curl.sh")], server)
    assert "answer:   56" in printed
    assert '"majority_ratio": 1.0' in printed
    assert '"promoted":3' in printed
