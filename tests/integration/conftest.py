"""A real gateway over real HTTP, in front of a hand-written engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.integration.fake_vllm import FakeVLLM, Serving
from tests.unit.registry import build
from ttrl_server.api.http import Http
from ttrl_server.commands.service import Service
from ttrl_server.learning.leases import Learning
from ttrl_server.settings.config import Config
from ttrl_server.types import Batch

ADMIN = "admin-key"
Start = Callable[..., "Gateway"]


def ones(n: int) -> str:
    """A question of its own for every ``n``, each longer than the one before."""
    return f"What is {'1 + ' * n}1?"


def asking(content: str = "What is 3 + 4?", **more: Any) -> dict[str, Any]:
    """The body of a request for a chat completion."""
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}


def problem(reply: httpx.Response, name: str = "code") -> tuple[int, Any]:
    """A refusal's status, and its error's code (or what else is named)."""
    return reply.status_code, reply.json()["error"][name]


class Gateway:
    """What a test holds of a running gateway."""

    def __init__(self, config: Config, engine: FakeVLLM) -> None:
        self.config, self.engine = config, engine
        self.service = Service(config, port=0)
        self._serving = Serving(self.service.app, Http)
        self.url = self._serving.url
        # Plain HTTP: reading the certificates would take longer than all the rest.
        kind = {"content-type": "application/json"}
        self.http = httpx.Client(base_url=self.url, timeout=30, verify=False, headers=kind)
        self.aside = ThreadPoolExecutor(4).submit
        """Makes a call in a thread of its own."""
        self.until(lambda: self.http.get("/ready").status_code == 200)

    @staticmethod
    def until(condition: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.02)

    def stop(self) -> None:
        self.http.close()
        self._serving.stop()
        self.service.promotions.ledger.close()

    # ------------------------------------------------------------ a client

    def ask(self, *content: str, headers: Any = None, **more: Any) -> httpx.Response:
        body = asking(*content, **more)
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def evidence(self, *content: str, **more: Any) -> dict[str, Any]:
        """The ``ttrl`` object of the reply."""
        return dict(self.ask(*content, **more).json()["ttrl"])

    def status(self) -> dict[str, Any]:
        return dict(self.http.get("/ttrl/v1/status").json())

    @property
    def served(self) -> str:
        return str(self.status()["served"]["name"])

    # ------------------------------------------------------------ an operator, and a trainer

    def admin(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {ADMIN}"}
        return self.http.post(f"/ttrl/v1/{path}", json=body or {}, headers=headers)

    def waiting(self) -> Batch | None:
        """The next batch, leased."""
        reply = self.admin("train/lease", {"worker": "test"})
        assert reply.status_code in (200, 204), reply.text
        return msgspec.msgpack.decode(reply.content, type=Batch) if reply.content else None

    def lease(self) -> Batch:
        batch = self.waiting()
        assert batch
        return batch

    def publish(self, batch: Batch) -> str:
        """The folder of a sound version, made from the one that is served."""
        served = self.status()["served"]["number"]
        return build.publish(self.config.adapters_root, batch.number, parent=served).folder

    def propose(self, batch: Batch, folder: str = "", **figures: float) -> dict[str, Any]:
        """The judgement of the version that was made from the batch."""
        body = {"batch": batch.id, "folder": folder or self.publish(batch), "metrics": figures}
        return dict(self.admin("train/propose", body).json())

    def promote(self, *question: str) -> Batch:
        """A question is asked and learned from, and the new version is served."""
        self.ask(*question)
        batch = self.lease()
        judgement = self.propose(batch)
        assert judgement["state"] == "promoted", judgement
        return batch


def until_watched(gateway: Gateway) -> None:
    assert gateway.service.learning
    watcher = gateway.service.learning.watcher
    gateway.until(lambda: not watcher.looking)


def small(folder: Path) -> dict[str, Any]:
    """Settings of a gateway that learns from one question at a time, all in one folder."""
    return {
        "model": "org/tiny",
        "hardware": "cpu",
        "run_dir": folder / "run",
        "api": {"admin_key": ADMIN},
        "vote": {"samples": 8, "deadline_s": 20, "anchor": 0},
        "train": {"samples": 4, "questions": 1, "launch": "elsewhere", "max_wait_s": 0, "rank": 8},
        "adapters": {"dir": folder / "adapters"},
        "gate": {"canary_share": 0, "witnesses": 0, "sentinels": False},
        # An engine that gives one answer to all would be noticed.
        "guard": {"max_copies": 100, "min_margin": 0, "attractors": False},
    }


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Starts gateways on one folder, one after another; sections are given as keyword arguments."""
    with ExitStack() as running:

        def begin(fake: FakeVLLM | None = None, **sections: Any) -> Gateway:
            fake = fake or FakeVLLM()
            serving = Serving(fake.app())
            running.callback(serving.end)
            settings = small(folder) | {"engine": {"url": serving.url}}
            for name, given in sections.items():
                more = isinstance(given, dict) and name in settings
                settings[name] = settings[name] | given if more else given
            gateway = Gateway(Config(**settings), fake)
            running.callback(gateway.stop)
            return gateway

        yield begin


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as begin:
        yield begin


@pytest.fixture(scope="module")
def start_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with starting(tmp_path_factory.mktemp("shared")) as begin:
        yield begin


@pytest.fixture(scope="module")
def shared(start_one: Start) -> Gateway:
    return start_one()


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The one of this file, for tests that leave nothing behind. Its engine has seen nothing."""
    shared.engine.seen.clear()
    return shared


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a batch in vain is told so soon."""
    monkeypatch.setattr(Learning, "lease", partialmethod(Learning.lease, wait_s=0.5))
