"""What a replay is: how it was asked for, and what it found out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ttrl_client.datasets import Item, QuestionSet
from ttrl_client.journal import write_whole
from ttrl_client.metrics import SetScore

Mode = Literal["learn", "frozen", "oracle", "prequential"]
"""learn: from the votes; frozen: nothing is stored; oracle: from the true answers; prequential:
one pass, each answer scored before anything was learned from it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a replay is run; written into its report, the key left out."""

    base_url: str
    api_key: str
    model: str
    episodes: int = 1
    batch: int = 8
    """Questions asked together; the next batch starts when the server has learned from this one."""
    eval_samples: int = 16
    temperature: float = 0.6
    """Of evaluation samples; the temperature of votes is the server's."""
    top_p: float = 0.95
    max_tokens: int | None = None
    seed: int = 0
    """Of the order in which questions are asked."""
    concurrency: int = 16
    mode: Mode = "learn"
    eval_every: int = 0
    """Batches between evaluations under way; 0: none."""
    wait: bool = True
    wait_timeout_s: float = 1800
    """Longest wait for one batch to be learned from."""
    patience_s: float = 120
    max_retries: int = 2
    timeout_s: float = 900


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch of voted questions. The ratios are means over its voted questions, None without
    one."""

    episode: int
    batch: int
    answered: int
    failed: int
    majority_ratio: float | None
    """Also the mean pseudo-reward: a sample earns 1 when it agrees with the winner."""
    ground_truth_ratio: float | None
    label_accuracy: float | None
    reward_accuracy: float | None
    sampled_tokens: int
    adapters: list[str]
    """Versions that answered."""
    served: str
    """Version served once the batch had been learned from."""
    seconds: float
    wait_seconds: float
    entropy: float | None = None
    """Mean token entropy of the votes (nats), where the server says."""
    length: float | None = None
    """Mean tokens of a sample."""
    correct: float | None = None
    """Share of the answers that were right: what a client got."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All sets at one moment."""

    moment: str
    """before, after, or "at step 8"."""
    step: int
    """Batches that had been learned from."""
    served: str
    scores: dict[str, SetScore]


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a replay found out."""

    settings: Settings
    sets: tuple[QuestionSet, ...]
    """The trained set first."""
    history: list[BatchRecord]
    evaluations: list[Evaluation]
    """All of them, the first and the last included."""
    served_before: str
    served_after: str
    versions_promoted: int
    questions_answered: int
    requests_failed: int
    wall_seconds: float


FORMAT = 2
"""Of a run's folder; one of another version is neither resumed nor drawn again."""


def asked_for(settings: Settings, sets: Sequence[QuestionSet]) -> dict[str, Any]:
    """What a run is: a resumed one must be the same. How it is reached may differ."""
    free = ("api_key", "base_url", "concurrency", "max_retries")
    asked = {
        name: value
        for name, value in asdict(settings).items()
        if name not in free and not name.endswith("_s")  # nor how long it waits
    }
    asked["format"] = FORMAT
    asked["questions"] = {s.name: hashlib.sha256(repr(s.items).encode()).hexdigest() for s in sets}
    return asked


def write_questions(sets: Sequence[QuestionSet], path: Path) -> None:
    """A line a question, so that the run's folder is enough to draw its page again."""
    lines = (
        json.dumps({"set": s.name} | asdict(item), ensure_ascii=False)
        for s in sets
        for item in s.items
    )
    write_whole("".join(line + "\n" for line in lines), path)


def read_questions(path: Path) -> tuple[QuestionSet, ...]:
    """The sets in their order."""
    found: dict[str, list[Item]] = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        record = json.loads(line)
        found.setdefault(record.pop("set"), []).append(Item(**record))
    return tuple(QuestionSet(name, tuple(items)) for name, items in found.items())
