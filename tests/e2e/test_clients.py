"""Stock clients, as their packages come, against a real server. They are installed here."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import NAME, ROOT, Server
from tests.e2e.test_dialects import PARSERS

CLIENTS = ROOT / "tests" / "clients"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    plain = {"chat_template_kwargs": json.dumps({"enable_thinking": False})}
    flags = {"--train.enabled": False, "--engine.extra-args": json.dumps(PARSERS)}
    server = Server(folder, flags | {f"--{name}": value for name, value in plain.items()})
    server.start()
    yield server
    assert server.stop() in (0, -signal.SIGTERM)


def told(*call: object, cwd: Path | None = None) -> dict[str, Any]:
    done = subprocess.run(
        [*map(str, call)], cwd=cwd, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["name"]: line["result"] for line in lines}


def test_javascript(server: Server, tmp_path: Path) -> None:
    for name in ("package.json", "stock.mjs"):
        shutil.copy(CLIENTS / name, tmp_path)
    told("npm", "install", "--no-audit", "--no-fund", cwd=tmp_path)
    url = f"http://127.0.0.1:{server.port}"
    assert told("node", "stock.mjs", url, NAME, cwd=tmp_path) == {
        "openai chat": ["string", True],
        "openai stream": [True, True],
        "openai tools": ["tool_calls", "weather"],
        "openai parsed": ["string"],
        "openai models": [NAME],
        "vercel text": [True, True],
        "vercel tool loop": [2, "weather", "7 degrees"],
        "vercel on messages": [True],
        "anthropic message": ["text", True],
        "anthropic stream with tools": ["tool_use", "weather"],
    }


def test_python(server: Server, tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"
    told(python, "-m", "pip", "install", "--quiet", "-r", CLIENTS / "requirements.txt")
    url = f"http://127.0.0.1:{server.port}"
    assert told(python, CLIENTS / "stock.py", url, NAME) == {
        "openai_async": [4, "length"],
        "openai_responses": [True],
        "litellm_tools": ["weather", ["city"]],
        "langchain_agent": ["ai", "weather"],
        "agents_sdk": [True, True],
        "anthropic_messages": ["tool_use", "weather", True],
    }


def test_java(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    asked = {"model": NAME, "messages": [{"role": "user", "content": "What is 3 + 4?"}]}
    call = ["java", CLIENTS / "Ask.java", url, json.dumps(asked | {"max_tokens": 8})]
    said = subprocess.run([*map(str, call)], capture_output=True, text=True, timeout=120)
    assert [line.split()[0] for line in said.stdout.splitlines() if line] == ["200", "200"]


def test_reported_requests(server: Server, tmp_path: Path) -> None:
    """Requests that broke other servers (shared/cases/serving.py), where that folder is there."""
    cases = ROOT.parent / "shared" / "cases" / "serving.py"
    if not cases.is_file():
        pytest.skip("no ../shared here")
    call = [sys.executable, cases, "--base-url", f"http://127.0.0.1:{server.port}"]
    found = tmp_path / "found.json"
    more = ["--model", NAME, "--hub-id", server.flags.get("--model", "")]
    subprocess.run([*map(str, [*call, *more, "--json", found])], timeout=900, check=False)
    assert [row for row in json.loads(found.read_text()) if row["verdict"] == "FAIL"] == []
