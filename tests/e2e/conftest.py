"""A real ``ttrl-serve`` on the real small model: real vLLM, real trainer, real adapters. Made by
``make model``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from ttrl_server.engine.command import entry, socket_path
from ttrl_server.settings.config import Config

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(os.environ.get("TTRL_TEST_MODEL", ROOT / ".models" / "SmolLM2-135M-Instruct"))
NAME, ADMIN = "smollm2-135m", "admin-key"


class Server:
    """One ``ttrl-serve`` process on a folder that outlives it."""

    def __init__(self, folder: Path, flags: dict[str, Any] | None = None) -> None:
        self.folder, self.port, self.flags = folder, _free_port(), flags or {}
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=240)
        url = f"http://127.0.0.1:{self.port}/v1"
        self.openai = openai.OpenAI(base_url=url, api_key="unused", max_retries=0)
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        command = shutil.which("ttrl-serve", path=sysconfig.get_path("scripts")) or "ttrl-serve"
        flags: dict[str, Any] = {
            "--config": ROOT / "configs" / "smollm2-135m.yaml",
            "--model": MODEL,
            "--port": self.port,
            "--run-dir": self.folder / "run",
            "--adapters.dir": self.folder / "adapters",
            "--api.admin-key": ADMIN,
            "--vote.samples": 8,
            "--train.samples": 8,
            "--train.questions": 2,
            "--train.lease-s": 20,
            # Eight votes of a weak model, asked again and again. Sentinels come later.
            "--guard.min-majority": 0,
            "--guard.min-margin": 0,
            "--guard.min-extractable": 0,
            "--guard.max-copies": 100,
            "--gate.canary-share": 0,
            "--gate.witnesses": 0,
            "--gate.sentinels": False,
            **self.flags,
        }
        argv = [command, *(str(part) for flag in flags.items() for part in flag)]
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        self.until(self.ready, 240)

    def ready(self) -> bool:
        assert self.process.poll() is None, f"the server died: {self.log()[-3000:]}"
        try:
            return self.http.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def status(self) -> dict[str, Any]:
        return dict(self.http.get("/ttrl/v1/status").json())

    def ask(self, content: str, model: str = NAME, **more: Any) -> Any:
        messages: Any = [{"role": "user", "content": content}]
        return self.openai.chat.completions.create(model=model, messages=messages, **more)

    def greedy(self, content: str, model: str) -> str:
        reply = self.ask(content, model=model, temperature=0, max_tokens=24)
        return str(reply.choices[0].message.content)

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {ADMIN}"}
        return self.http.request(method, f"/ttrl/v1/{path}", json=body, headers=headers)

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {self.log()[-3000:]}"
            time.sleep(0.2)

    def engine_gauge(self, name: str) -> float:
        """A figure of vLLM's own metrics, read on its private socket."""
        path = socket_path(Config(model="m", hardware="cpu", run_dir=self.folder / "run"), 0)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as engine:
            lines = engine.get("http://engine/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))

    def learned_all(self) -> bool:
        status = self.status()
        return status["rest"] and not status["training"]

    def settle(self) -> None:
        """Until nothing waits to be learnt: what is served then stays."""
        self.until(lambda: self.ready() and self.learned_all(), 180)

    def learn(self, first: int, versions: int = 1) -> None:
        """Asks questions, two at a time, until so many more versions are served."""
        wanted = self.status()["promoted"] + versions
        for factor in range(first, first + 40, 2):
            for a in (factor, factor + 1):
                self.ask(f"What is {a % 8 + 2} * {a // 8 + 2}? Answer with just the number.")
            self.until(self.learned_all)
            if self.status()["promoted"] >= wanted:
                return
        raise AssertionError(f"no version was promoted: {self.log()[-3000:]}")

    def children(self) -> list[psutil.Process]:
        """Every process the server has started, however deep."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, part: str) -> psutil.Process:
        """The child whose command line holds ``part``."""
        lines = ((p, " ".join(p.cmdline())) for p in self.children())
        return next(p for p, line in lines if part in line and "process.py" not in line)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def plain_vllm(log: Path, *flags: str) -> Iterator[str]:
    """The address of vLLM as anybody starts it: without a gateway."""
    port = _free_port()
    argv = [sys.executable, "-m", entry(), "--model", str(MODEL), "--port", str(port)]
    argv += ["--dtype", "float32", "--max-model-len", "1024", *flags]
    # By default it wants nearly all of the machine's memory.
    little = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, env=little, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not _is_healthy(f"http://127.0.0.1:{port}"):
            starting = process.poll() is None and time.monotonic() < deadline
            assert starting, f"plain vLLM did not start: {log.read_text()[-3000:]}"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def serving(folder: Path, flags: dict[str, Any] | None = None) -> Iterator[Server]:
    """A server that is ready, until it has been stopped."""
    assert (MODEL / "config.json").is_file(), f"no model in {MODEL}: make model, or TTRL_TEST_MODEL"
    server = Server(folder, flags)
    server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server
