"""A real gateway over real HTTP, in front of a hand-written engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.fake_vllm import FakeVLLM, Serving
from ttrl_server.commands.service import Service
from ttrl_server.settings.config import Config

ADMIN = "admin-key"


def ones(n: int) -> str:
    """A question of its own for every ``n``, each longer than the one before."""
    return f"What is {'1 + ' * n}1?"


class Gateway:
    """What a test holds of a running gateway."""

    def __init__(self, config: Config, engine: FakeVLLM) -> None:
        self.config, self.engine = config, engine
        self.service = Service(config, port=0)
        self.serving = Serving(self.service.app)
        self.http = httpx.Client(base_url=self.serving.url, timeout=30)
        self.until(lambda: self.http.get("/ready").status_code == 200)

    @property
    def url(self) -> str:
        return self.serving.url

    def ask(self, content: str = "What is 3 + 4?", **more: Any) -> httpx.Response:
        body = {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}
        return self.http.post("/v1/chat/completions", json=body)

    def admin(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.http.post(
            f"/ttrl/v1/{path}", json=body, headers={"authorization": f"Bearer {ADMIN}"}
        )

    def status(self) -> dict[str, Any]:
        return dict(self.http.get("/ttrl/v1/status").json())

    @staticmethod
    def until(condition: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.02)

    def stop(self) -> None:
        self.http.close()
        self.serving.stop()
        self.service.promotions.ledger.close()


def small(folder: Path) -> dict[str, Any]:
    """Settings of a gateway that learns from one question at a time, all in one folder."""
    return {
        "model": "org/tiny",
        "hardware": "cpu",
        "run_dir": folder / "run",
        "api": {"admin_key": ADMIN},
        "vote": {"samples": 8, "deadline_s": 20},
        "train": {"samples": 4, "questions": 1, "launch": "elsewhere", "max_wait_s": 0, "rank": 8},
        "adapters": {"dir": folder / "adapters"},
        "gate": {"canary_share": 0, "sentinels": False},
        "guard": {"max_copies": 100, "min_margin": 0},
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways on one folder, one after another; sections are given as keyword arguments."""
    running: list[Any] = []

    def begin(fake: FakeVLLM | None = None, **sections: Any) -> Gateway:
        fake = fake or FakeVLLM()
        serving = Serving(fake.app())
        defaults = small(tmp_path)
        merged = {
            k: defaults.get(k, {}) | v if isinstance(v, dict) else v for k, v in sections.items()
        }
        config = Config(
            **(defaults | merged | {"engine": {"url": serving.url, **sections.get("engine", {})}})
        )
        gateway = Gateway(config, fake)
        running.extend([serving, gateway])
        return gateway

    yield begin
    for thing in reversed(running):
        thing.stop()


@pytest.fixture
def gateway(start: Callable[..., Gateway]) -> Gateway:
    return start()
