"""Each example, run as a person would run it, against the fake server."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.conftest import ROOT, python
from tests.unit.client.fake_openai import KEY, FakeServer

EXAMPLES = ROOT / "clients" / "examples"


@pytest.fixture(autouse=True)
def third_version(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.version = 3
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize(
    "name", ["openai_sync.py", "openai_async.py", "openai_streaming.py", "langchain_chat.py"]
)
def test_a_python_example_prints_the_answer_and_the_evidence(name: str) -> None:
    if name.startswith("langchain"):
        pytest.importorskip("langchain_openai")
    done = python(EXAMPLES / name)
    assert done.returncode == 0, done.stderr
    assert "56" in done.stdout or "54" in done.stdout
    assert "majority_ratio" in done.stdout
    assert "tiny@v3" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_prints_the_answer_the_evidence_and_the_status() -> None:
    printed = subprocess.check_output(["sh", EXAMPLES / "curl.sh"], text=True, timeout=60)
    assert "answer:   56" in printed
    assert '"majority_ratio": 1.0' in printed
    assert '"promoted":3' in printed
