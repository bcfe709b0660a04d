"""The greedy evaluation of docs/recipes.md through the gateway, and the same one through plain vLLM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import recipes
from tests.e2e.conftest import MODEL, Server, _free_port
from ttrl_server.engine.command import ENTRY

BASE = "smollm2-135m@base"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_greedy_score_through_the_gateway_is_plain_vllms(tmp_path: Path) -> None:
    server = Server(tmp_path, {"--train.enabled": False})
    server.start()
    try:
        ours = evaluated(f"http://127.0.0.1:{server.port}", tmp_path / "ours")
    finally:
        server.stop()
    with plain_vllm(tmp_path / "vllm.log") as url:
        theirs = evaluated(url, tmp_path / "theirs")
    assert ours == theirs
    assert len(ours[1]) == 16


def evaluated(url: str, folder: Path) -> tuple[float, dict[str, str]]:
    """The score that is printed, and the reply to each question; one at a time, so that batches are the same."""
    changes = {recipes.ADDRESS: url, recipes.MODEL: BASE, "num_concurrent=8": "num_concurrent=1"}
    printed = recipes.run("lm-eval, greedy", folder, changes, more="--log_samples --output_path samples")
    (log,) = folder.glob("samples/**/samples_answers_*.jsonl")
    samples: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    return recipes.score(printed), {sample["doc"]["id"]: sample["resps"][0][0] for sample in samples}


@contextmanager
def plain_vllm(log: Path) -> Iterator[str]:
    """vLLM as anybody starts it: no gateway, no adapters."""
    port = _free_port()
    argv = [sys.executable, "-m", ENTRY, "--model", str(MODEL), "--served-model-name", BASE, "--port", str(port)]
    argv += ["--dtype", "float32", "--max-model-len", "1024", "--enforce-eager"]
    little = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}  # by default it wants nearly all of the machine's memory
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, env=little, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, f"plain vLLM ended: {log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"plain vLLM did not start: {log.read_text()[-3000:]}"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
