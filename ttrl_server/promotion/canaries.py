"""Questions that the gate asks every candidate, and the answers of each version.

There are three kinds. Held-back questions are a share of the clients' questions. Sentinels are
questions of the bank that the base model answers right sometimes. ``gate.labelled`` is the
operator's own labelled set.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog

from ttrl_server.engine.fleet import Replica
from ttrl_server.errors import ConfigError, EngineError
from ttrl_server.promotion.bank import questions
from ttrl_server.registry.folders import MALFORMED
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.settings.sections import GateConfig
from ttrl_server.types import Group, Prompt, Question, Rollout, Sampling, Signals, VoteOptions
from ttrl_server.voting import signals

log = structlog.get_logger()

TOKENS = 1024
"""Most tokens for an answer to the bank, where ``vote.max_tokens`` says nothing."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The answers of one version to one question."""

    answers: tuple[str | None, ...]
    """[K], one answer for each sample."""
    tokens: int
    surprise: float
    """Sum of −log π over all sampled tokens (nats)."""

    def __add__(self, other: Sheet) -> Sheet:
        answers, tokens = self.answers + other.answers, self.tokens + other.tokens
        return Sheet(answers, tokens, self.surprise + other.surprise)

    @classmethod
    def of(cls, rollouts: Collection[Rollout], answers: tuple[str | None, ...]) -> Sheet:
        """The sheet for ``rollouts`` and their ``answers`` [K]."""
        tokens = sum(len(rollout.token_ids) for rollout in rollouts)
        return cls(answers, tokens, signals.surprise(rollouts))

    def signals(self, version: int, labels: Sequence[str | None]) -> Signals:
        """The signals of this sheet. ``labels`` [K] are equal where the answers are the same."""
        return signals.of_samples(
            version,
            majority=signals.largest(labels)[1],
            extractable=signals.answered(self.answers),
            samples=len(self.answers),
            tokens=self.tokens,
            surprise=self.surprise,
        )


@dataclass(slots=True)
class Canary:
    """One question that candidates are asked."""

    prompt: Prompt
    sampling: Sampling
    truth: str | None = None
    """The right answer, where it is known."""
    said: dict[int, Sheet] = field(default_factory=dict)
    """The answers, by version; 0 is the base model."""
    spent: int = 0
    """Seeds that no comparison may use any more."""

    @classmethod
    def of(cls, group: Group, prompt: Prompt) -> Canary:
        """A client's question; a sample of it may be half as long again as the longest of
        ``group``."""
        longest = max((len(rollout.token_ids) for rollout in group.rollouts), default=1)
        sampling = Sampling(group.temperature, max_tokens=longest + longest // 2)
        return cls(prompt, sampling)


def is_held_back(key: str, gate: GateConfig) -> bool:
    """Whether a question is held back. The result depends on ``key`` and the settings only."""
    return int(key[:8], 16) < gate.canary_share * 2**32


@dataclass(frozen=True, slots=True)
class Labelled:
    """One line of the operator's file, or a question of the bank."""

    messages: list[dict[str, Any]]
    answer: str
    sampling: Sampling


def bank(config: Config) -> list[list[Labelled]]:
    """The bank as chat questions, from easy to hard, sampled as clients' questions are."""
    sampling = Sampling(config.vote.temperature, config.vote.max_tokens or TOKENS)
    levels: dict[int, list[Labelled]] = {}
    for each in questions():
        asked = Labelled(_chat(each.text), each.answer, sampling)
        levels.setdefault(each.level, []).append(asked)
    return list(levels.values())


def _chat(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


class _Line(msgspec.Struct):
    answer: str | int | float
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None


def read_labelled(path: Path, sampling: Sampling) -> list[Labelled]:
    """Reads ``gate.labelled``: JSON lines of questions and answers. Raises ConfigError."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"gate.labelled: {path} cannot be read ({error})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"gate.labelled: {path}, line {number}"
        try:
            row = msgspec.json.decode(line, type=_Line)
        except MALFORMED as error:
            raise ConfigError(f"{where}: {error}") from None
        messages = row.messages or (_chat(row.prompt) if row.prompt else [])
        if not messages or not str(row.answer).strip():
            raise ConfigError(f"{where}: a prompt (or messages) and an answer are needed")
        found.append(Labelled(messages, str(row.answer), sampling))
    if not found:
        raise ConfigError(f"gate.labelled: {path} holds no question")
    return found


async def tokenized(config: Config, replica: Replica, given: list[Labelled]) -> list[Canary]:
    """Tokenises the questions that the engine accepts. Raises EngineError when the engine fails."""
    found = []
    for asked in given:
        question = Question(
            id="canary",
            tenant="",
            prompt=asked.messages,
            kind="chat",
            model=config.name,
            version=0,
            sampling=asked.sampling,
            vote=VoteOptions(config.gate.canary_samples, train=False),
            request={"chat_template_kwargs": config.chat_template_kwargs},
        )
        try:
            prompt = await replica.client.prompt(question, version_name(config.name, 0))
        except EngineError as error:
            if error.status is None or error.status >= 500:
                raise
            log.warning("canary.unusable", question=str(asked.messages)[:200], reason=error.message)
            continue
        if prompt.longest > 0:
            found.append(Canary(prompt, asked.sampling, asked.answer))
    return found
