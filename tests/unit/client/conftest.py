from __future__ import annotations

import json
from collections.abc import Iterator
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
    """Elsewhere there is nothing in them: laying one out takes most of a replay's time."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(plot, "figure", lambda *_: Figure(figsize=(1, 1)))


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs in a folder of its own, with files of questions."""
    monkeypatch.chdir(tmp_path)
    fails = {"id": "bad", "prompt": "This one fails", "answer": "1"}
    products = [_product(a, b) for a in (2, 3, 4) for b in (5, 7)]
    files = {
        "products": products,
        "one": [_product(7, 8)],
        "other": [_product(8, 9), _product(9, 9)],
        "failing": [*products, fails],
        "hopeless": [fails],
    }
    for name, records in files.items():
        lines = "".join(json.dumps(record) + "\n" for record in records)
        Path(f"{name}.jsonl").write_text(lines, encoding="utf-8")


def _product(a: int, b: int) -> dict[str, str]:
    return {"id": f"{a}x{b}", "prompt": f"What is {a} * {b}?", "answer": f"{a * b}.0"}


@pytest.fixture
def late_server(questions: None) -> Iterator[FakeServer]:
    """Its port is known, and nobody listens there until the test starts it."""
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def server(late_server: FakeServer) -> FakeServer:
    late_server.start()
    return late_server
