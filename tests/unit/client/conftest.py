from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from ttrl_client import plot, replay

from tests.unit.client.fake_openai import FakeServer


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "POLL_S", 0.02)


@pytest.fixture
def drawn() -> None:
    """Asked for by tests that look at pictures."""


@pytest.fixture(autouse=True)
def quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere they are written as always, with nothing in them: laying one out takes most of a
    replay's time here."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(plot, "figure", lambda *_: Figure(figsize=(1, 1)))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def late_server() -> Iterator[FakeServer]:
    """Its port is known, and nobody listens there until the test starts it."""
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def question_file(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, *pairs: tuple[int, int], failing: int = 0) -> Path:
        records = [
            {"id": f"{a}x{b}", "prompt": f"What is {a} * {b}?", "answer": f"{a * b}.0"}
            for a, b in pairs
        ]
        records += [
            {"id": f"bad-{i}", "prompt": "This one fails", "answer": "1"} for i in range(failing)
        ]
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write
