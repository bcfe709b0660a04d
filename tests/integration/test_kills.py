"""kill -9 of the real trainer at load, forward, step, save, rename and propose, in turn, under the
real supervisor: three times each; ``TTRL_KILLS=20`` makes it twenty.

A real gateway over real HTTP, with a real store and ledger, starts, watches and restarts the
trainer; only the pauses between two lives are cut. The trainer is the real one on a tiny random
model, in processes forked from one that has done the imports (``mortal_trainer``). The engine alone
is written by hand: it gives a loaded version the scores of its ``probe.json``, so the gate's probe
runs too.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.integration import mortal_trainer
from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import CONTEXT, FakeVLLM
from tests.integration.mortal_trainer import POINTS
from ttrl_server.process import inherited
from ttrl_server.registry import folders, preflight
from ttrl_server.registry.past import Event
from ttrl_server.settings.config import Config
from ttrl_server.training import supervisor
from ttrl_server.types import AdapterVersion, Probe

KILLS = int(os.environ.get("TTRL_KILLS", "3"))
ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = 2
"""Groups in a batch."""
PATIENCE_S = 60

COUNTED = {("propose", "received"), ("propose", "answered")}
"""Deaths after which the gateway has the version; after every other one the batch is learned
again."""


# ---------------------------------------------------------------- what stands around the trainer


class ProbedVLLM(FakeVLLM):
    """Scores known tokens as the ``probe.json`` of the version says that was loaded."""

    def __init__(self) -> None:
        super().__init__(text=lambda i: "The answer is 9." if i % 4 == 0 else "The answer is 7.")
        self._scores: dict[tuple[str, tuple[int, ...]], tuple[float, ...]] = {}

    async def tokenize(self, request: Request) -> Response:
        """One token a character: no two questions are the same."""
        body = await self._body(request)
        ids = [*map(ord, body["messages"][-1]["content"])]
        return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": CONTEXT})

    async def load(self, request: Request) -> Response:
        body = await self._body(request)
        file = Path(body["lora_path"]) / "probe.json"
        probe = msgspec.json.decode(file.read_bytes(), type=Probe)
        rows = zip(probe.token_ids, probe.base_logprobs, probe.adapter_logprobs, strict=True)
        for ids, without, adapted in rows:
            self._scores["tiny@base", ids] = without
            self._scores[body["lora_name"], ids] = adapted
        return await super().load(request)

    def _score(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = tuple(body["prompt"])
        known = self._scores["tiny@base" if body["model"] == "tiny" else body["model"], ids]
        nats = [-1.0] * (len(ids) - len(known)) + list(known)
        scored = zip(ids[1:], nats[1:], strict=True)
        rows = [None, *({str(token): {"logprob": value}} for token, value in scored)]
        return {"choices": [{"prompt_logprobs": rows}]}


@dataclass
class Nursery:
    """The process that the lives are forked from."""

    socket: Path
    model: Path
    log: Path


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    folder = tmp_path_factory.mktemp("nursery")
    it = Nursery(folder / "socket", folder / "tiny", folder / "log")
    env = inherited() | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    # Lives are forked from a process without threads.
    env |= {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
    argv = [sys.executable, "-m", mortal_trainer.__name__, "nursery", str(it.socket), str(it.model)]
    with it.log.open("w") as log:
        own: dict[str, Any] = {"stdout": log, "stderr": log, "start_new_session": True}
        process = subprocess.Popen(argv, cwd=ROOT, env=env, **own)
    try:
        Gateway.until(lambda: it.socket.exists() or process.poll() is not None, PATIENCE_S)
        assert process.poll() is None, it.log.read_text()[-3000:]
        yield it
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass
class Lives:
    """The trainers of one test, counted from 1; each waits for its order."""

    nursery: Nursery
    folder: Path
    begun: int = 0

    def command(self, _: Config, config_file: Path, url: str) -> tuple[list[str], dict[str, str]]:
        """In place of ``trainer_command``."""
        self.begun += 1
        script = [sys.executable, "-I", "-S", mortal_trainer.__file__, "ask"]
        files = (self.nursery.socket, self.order(self.begun), config_file)
        return [*script, *map(str, files)], {}

    def order(self, life: int) -> Path:
        return self.folder / f"{life}.json"

    def died_as_ordered(self, life: int) -> bool:
        return self.order(life).with_suffix(".died").exists()

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def leases(self) -> list[tuple[int, list[str]]]:
        """(number, experiences) of every batch a trainer was given."""
        if not self.journal.exists():
            return []
        return [tuple(json.loads(line)) for line in self.journal.read_text().splitlines()]

    def send(self, **order: str) -> int:
        """Lets the waiting life go on; returns its number."""
        draft = self.folder / "draft"
        draft.write_text(json.dumps(order | {"journal": str(self.journal)}))
        draft.rename(self.order(self.begun))
        return self.begun


@pytest.fixture
def lives(nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lives:
    (tmp_path / "orders").mkdir()
    it = Lives(nursery, tmp_path / "orders")
    monkeypatch.setattr(supervisor, "trainer_command", it.command)
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0,))
    monkeypatch.setattr(supervisor, "GIVE_UP_AFTER", 10_000)
    return it


# ---------------------------------------------------------------- what the test holds on to


@dataclass(frozen=True)
class Books:
    """All that is on disk: the adapters folder, the ledger and the store."""

    staged: set[str]
    visible: set[str]
    events: list[Event]
    consumed: list[tuple[int, str, list[str]]]
    """(number, folder, experiences) of every consumed batch, in order."""
    groups: Counter[str]

    @classmethod
    def read(cls, config: Config) -> Books:
        root = config.adapters_root
        names = {path.name for path in root.iterdir()}
        lines = (root / "ledger.jsonl").read_bytes().splitlines()
        store = sqlite3.connect(f"file:{config.state_dir}/store.sqlite?mode=ro", uri=True)
        consumed = store.execute(
            "SELECT seq, number, folder FROM batches WHERE state = 'consumed' ORDER BY seq"
        )
        held = "SELECT id FROM experiences WHERE batch = ? AND state = 'consumed'"
        it = cls(
            staged={name for name in names if name.startswith(".tmp")},
            visible={name for name in names if name.startswith("v")},
            events=[msgspec.json.decode(line, type=Event) for line in lines],
            consumed=[
                (number, folder, [group for (group,) in store.execute(held, (seq,))])
                for seq, number, folder in consumed
            ],
            groups=Counter(state for (state,) in store.execute("SELECT state FROM experiences")),
        )
        store.close()
        return it

    def of(self, event: str) -> list[tuple[int, str | None]]:
        return [(e.number, e.folder) for e in self.events if e.event == event]


@dataclass
class House:
    """A gateway, its trainers, and what has been seen of both."""

    start: Start
    lives: Lives
    engine: ProbedVLLM = field(default_factory=ProbedVLLM)
    asked: int = 0
    whole: dict[str, AdapterVersion] = field(default_factory=dict)
    """Versions that have been checked; a version never changes."""

    def open(self) -> None:
        life = self.lives.begun
        batches = {"questions": QUESTIONS, "min_group": 4, "max_wait_s": 3600}
        process = {"launch": "here", "cpu_threads": 1, "niceness": 0}
        self.gateway = self.start(
            self.engine,
            model=str(self.lives.nursery.model),
            vote={"samples": 4, "stop": "none"},
            train=batches | process | {"learning_rate": 1e-5},
            adapters={"keep": 10_000},
        )
        self.until(lambda: self.lives.begun > life)

    def books(self) -> Books:
        return Books.read(self.gateway.config)

    def until(self, condition: Callable[[], bool]) -> None:
        self.gateway.until(condition, PATIENCE_S)

    def begin(self, point: str = "none", variant: str = "") -> int:
        """The next life, which dies there."""
        root = str(self.gateway.config.adapters_root)
        return self.lives.send(url=self.gateway.url, root=root, point=point, variant=variant)

    def fill(self) -> None:
        """Asks until a batch waits. No death of a trainer costs an answer."""
        missing = QUESTIONS - self.books().groups["pending"]
        while missing:
            reply = self.gateway.ask(f"What is {self.asked} + 7?")
            assert reply.status_code == 200, reply.text
            self.asked += 1
            training = reply.json()["ttrl"]["train"]
            assert training in ("queued", "held_back")
            missing -= training == "queued"

    def await_version(self, life: int, before: Books) -> Books:
        """Until the life has turned the batch that waited into a served version."""
        wanted = len(before.of("promoted")) + 1
        self.until(lambda: self.gateway.status()["promoted"] == wanted or self.lives.begun > life)
        assert self.lives.begun == life, f"life {life} learned nothing: {self.log()}"
        return self.check()

    def await_death(self, life: int) -> None:
        """Until the supervisor has mourned, and what was proposed has its judgement."""
        self.until(lambda: self.lives.begun > life)
        assert self.lives.died_as_ordered(life), f"life {life} died elsewhere: {self.log()}"
        self.until(lambda: not self.gateway.status()["training"])

    def log(self) -> str:
        return self.lives.nursery.log.read_text()[-3000:]

    def check(self) -> Books:
        """What must hold whenever no trainer is at work."""
        books = self.books()
        for folder in sorted(books.visible - self.whole.keys()):
            self.whole[folder] = whole_version(self.gateway.config, folder)
        consumed = [(number, folder) for number, folder, _ in books.consumed]
        assert books.of("proposed") == books.of("promoted") == consumed
        line = [self.whole[folder] for _, folder in consumed]
        parents = [0, *(version.number for version in line)]
        assert [version.parent for version in line] == parents[:-1]
        assert [version.step for version in line] == list(range(1, len(line) + 1))
        self.check_groups(books)
        return books

    def swept(self) -> bool:
        """Whether what a dead trainer left, half a folder or one that nobody proposed, is gone."""
        books = self.books()
        return not books.staged and books.visible == {folder for _, folder in books.of("proposed")}

    def check_groups(self, books: Books) -> None:
        """What the versions in line learned from, as the trainers saw it, is what the store
        counts, each group once."""
        given = self.lives.leases()
        batches = dict(given)
        assert len(batches) == len(given), "a version number was given to two batches"
        for number, _, experiences in books.consumed:
            assert len(experiences) == QUESTIONS
            assert sorted(batches[number]) == sorted(experiences)
        learned = Counter(group for number, _, _ in books.consumed for group in batches[number])
        assert set(learned.values()) <= {1}
        assert (books.groups["consumed"], books.groups["dropped"]) == (len(learned), 0)
        assert books.groups.total() == self.asked


def whole_version(config: Config, folder: str) -> AdapterVersion:
    """A version folder that the gate would let in, and whose optimiser took as many steps as its
    manifest says."""
    version = folders.read(config.adapters_root, folder)
    limits: dict[str, Any] = {"base_model": config.base_model, "max_rank": config.train.rank}
    preflight.check(config.adapters_root, version, **limits)
    kept = torch.load(config.adapters_root / folder / "trainer.pt", weights_only=True)
    assert kept["step"] == version.step
    return version


# ---------------------------------------------------------------- the tests


@pytest.mark.timeout(120 + 15 * KILLS * len(POINTS))
def test_a_trainer_killed_anywhere_is_followed_by_one_that_learns_on_and_every_batch_counts_once(
    start: Start, lives: Lives
) -> None:
    house = House(start, lives)
    house.open()
    for turn in range(KILLS):
        for point, (_, variants) in POINTS.items():
            kill(house, point, variants[turn % len(variants)])
        restart(house)
    house.fill()
    before = house.check()
    house.await_version(house.begin(), before)


def kill(house: House, point: str, variant: str) -> None:
    """One life that makes good the death before it, and then dies; with what it must have left
    and not left."""
    house.fill()
    before = house.check()
    life = house.begin(point, variant)
    if point != "load":
        before = house.await_version(life, before)
        house.fill()
    house.await_death(life)
    house.gateway.until(house.swept)
    after = house.check()
    assert len(after.consumed) - len(before.consumed) == ((point, variant) in COUNTED)


def restart(house: House) -> None:
    """A gateway that starts again takes nothing away."""
    left = house.check()
    house.gateway.stop()
    house.open()
    assert house.check().visible == left.visible
