"""The two ways a question is asked over OpenAI HTTP, and the server's word on what it has learned.

Voted: n = 1, the server samples, votes and may keep the group for training.
Drawn: n = k, which is never voted on; ``store: false`` says besides that nothing of it may be kept.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletion, ChatCompletionUserMessageParam

T = TypeVar("T")

FAILURES = (openai.OpenAIError, json.JSONDecodeError)
"""What one question may fail with: the SDK's own errors, and a reply whose body is not JSON."""


class BadReply(openai.OpenAIError):
    """The server answered 200 with something that is not a chat completion."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The ``ttrl`` part of a voted reply."""

    answer: str | None
    majority_ratio: float
    """0 when no sample had an answer."""
    counts: dict[str, int]
    """Votes by answer."""
    votes: int
    """Samples drawn, those without an answer included."""
    adapter: str
    sampled_tokens: int
    entropy: float | None = None
    """Nats a token, where the server says."""


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    finish_reason: str
    evidence: Evidence | None
    """None when the server did not vote (any other OpenAI endpoint)."""


@dataclass(frozen=True, slots=True)
class Sample:
    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of one question, and the tokens they took (0 where the server does not say)."""

    samples: tuple[Sample, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Draw:
    """How evaluation samples are drawn."""

    k: int
    temperature: float
    top_p: float
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """What ``GET /ttrl/v1/status`` says."""

    served: str
    pending: int
    training: bool
    learning: bool
    reason: str | None
    promoted: int

    @property
    def busy(self) -> bool:
        """Something asked so far may still change the adapter that is served."""
        return self.learning and (self.pending > 0 or self.training)


NOT_LEARNING = Status("", 0, False, False, "the server has no /ttrl/v1/status", 0)


def connect(base_url: str, api_key: str, max_retries: int, timeout_s: float) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=base_url, api_key=api_key, max_retries=max_retries, timeout=timeout_s
    )


async def ask_voted(
    client: openai.AsyncOpenAI,
    model: str,
    prompt: str,
    max_tokens: int | None,
    label: str | None = None,
    *,
    store: bool = True,
) -> Reply:
    """One question to the vote; the temperature is the server's to choose. Raises one of FAILURES.

    With a ``label`` the server learns from it instead of from the vote; without ``store`` it learns
    nothing.
    """
    completion = _checked(
        await client.chat.completions.create(
            model=model,
            messages=[_user(prompt)],
            max_tokens=openai.omit if max_tokens is None else max_tokens,
            store=openai.omit if store else False,
            extra_body=None if label is None else {"ttrl": {"label": label}},
        )
    )
    choice = completion.choices[0]
    evidence = (completion.model_extra or {}).get("ttrl")
    return Reply(
        _printable(choice.message.content or ""),
        choice.finish_reason,
        _evidence(evidence) if evidence else None,
    )


async def draw(client: openai.AsyncOpenAI, model: str, prompt: str, how: Draw) -> Drawn:
    """k samples of one question, neither voted on nor kept. Raises one of FAILURES."""
    completion = _checked(
        await client.chat.completions.create(
            model=model,
            messages=[_user(prompt)],
            n=max(2, how.k),  # one would be voted on
            temperature=how.temperature,
            top_p=how.top_p,
            max_tokens=openai.omit if how.max_tokens is None else how.max_tokens,
            store=False,
        )
    )
    drawn = len(completion.choices)
    if drawn != max(2, how.k):
        raise BadReply(f"asked for {max(2, how.k)} choices, got {drawn}")
    samples = tuple(
        Sample(_printable(choice.message.content or ""), choice.finish_reason)
        for choice in completion.choices
    )
    tokens = completion.usage.completion_tokens if completion.usage else 0
    return Drawn(samples[: how.k], tokens * how.k // drawn)


async def read_models(client: openai.AsyncOpenAI) -> list[str]:
    """The names the endpoint answers to. Raises one of FAILURES."""
    models = await client.models.list()
    try:
        return [model.id for model in models.data]
    except AttributeError as error:
        raise BadReply(f"its /models is no list of models: {str(models)[:200]!r}") from error


async def read_status(client: openai.AsyncOpenAI) -> Status:
    """The server's state of learning; NOT_LEARNING where the endpoint is some other OpenAI
    server."""
    root = client.base_url.raw_path.removesuffix(b"v1/")
    url = client.base_url.copy_with(raw_path=root + b"ttrl/v1/status")
    try:
        body: Any = await client.get(str(url), cast_to=object)
    except openai.NotFoundError:
        return NOT_LEARNING
    try:
        return Status(
            served=body["served"]["name"],
            pending=body["pending"],
            training=body["training"],
            learning=body["learning"],
            reason=body["reason"],
            promoted=body["promoted"],
        )
    except (KeyError, TypeError) as error:
        raise BadReply(f"{url} answered {str(body)[:200]!r}") from error


class Patience:
    """Waits out a server, or its engine, that restarts: calls that reach nobody, or 503, are
    repeated with back-off.

    Any other HTTP error or a time-out is an answer; the SDK has its own retries for those. Once
    nothing but that has come for ``seconds``, calls fail with the SDK's error, until one succeeds
    again.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lost_at: float | None = None

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        pause = 0.5
        while True:
            try:
                result = await call()
            except openai.APITimeoutError:
                raise
            except (openai.APIConnectionError, openai.InternalServerError) as error:
                if isinstance(error, openai.InternalServerError) and error.status_code != 503:
                    raise
                self._lost_at = self._lost_at or time.monotonic()
                if time.monotonic() + pause > self._lost_at + self._seconds:
                    raise
            else:
                self._lost_at = None
                return result
            await asyncio.sleep(pause)
            pause = min(2 * pause, 8.0)


def _printable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can say and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _user(prompt: str) -> ChatCompletionUserMessageParam:
    return {"role": "user", "content": prompt}


def _checked(completion: object) -> ChatCompletion:
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise BadReply(f"not a chat completion: {str(completion)[:200]!r}")
    return completion


def _evidence(body: dict[str, Any]) -> Evidence:
    try:
        entropy = body.get("entropy")
        evidence = Evidence(
            answer=None if body["answer"] is None else _printable(str(body["answer"])),
            majority_ratio=float(body["majority_ratio"] or 0),
            counts={
                _printable(str(answer)): int(count)
                for answer, count in dict(body["counts"]).items()
            },
            votes=int(body["drawn"] if "drawn" in body else body["votes"]),
            adapter=_printable(str(body["adapter"])),
            sampled_tokens=int(body["sampled_tokens"]),
            entropy=None if entropy is None else float(entropy),
        )
        if evidence.votes < 1 or not math.isfinite(
            evidence.majority_ratio + (evidence.entropy or 0)
        ):
            raise ValueError("no votes, or figures that are not finite")
        return evidence
    except (KeyError, TypeError, ValueError) as error:
        raise BadReply(f"unreadable vote evidence: {str(body)[:200]!r}") from error
