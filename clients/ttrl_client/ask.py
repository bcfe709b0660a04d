"""The two ways a question is asked over OpenAI HTTP, and the server's word on what it has learned.

Voted: n = 1, the server samples, votes and may keep the group for training.
Drawn: n = k, and a header that asks for no vote; ``store: false`` says besides that nothing of it
may be kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import openai
import pydantic
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice
from pydantic import AliasChoices, BeforeValidator, Field, FiniteFloat

from ttrl_client.datasets import Item
from ttrl_server.answers import written

T = TypeVar("T")

FAILURES = (openai.OpenAIError, json.JSONDecodeError)
"""What one question may fail with: the SDK's own errors, and a reply whose body is not JSON."""


class BadReply(openai.OpenAIError):
    """The server answered 200 with something that is not a chat completion."""


def _printable(text: object) -> str:
    """Without halves of surrogate pairs, which JSON can say and no file can hold."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


Text = Annotated[str, BeforeValidator(_printable)]


class Evidence(pydantic.BaseModel, frozen=True):
    """The ``ttrl`` part of a voted reply."""

    answer: Text | None
    majority_ratio: Annotated[FiniteFloat, BeforeValidator(lambda ratio: ratio or 0)]
    """0 when no sample had an answer."""
    counts: dict[Text, int]
    """Votes by answer."""
    votes: int = Field(ge=1, validation_alias=AliasChoices("drawn", "votes"))
    """Samples drawn, those without an answer included."""
    adapter: Text
    sampled_tokens: int
    confidence: FiniteFloat | None = None
    """How likely the answer is right, where the server says."""
    entropy: FiniteFloat | None = None
    """Nats a token, where the server says."""


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    finish_reason: str
    calls: tuple[tuple[str, str], ...] = ()
    """Tools that it calls: each one's name, and its arguments in JSON."""
    evidence: Evidence | None = None
    """None when the server did not vote (a drawn sample, or any other OpenAI endpoint)."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of one question, and the tokens they took (0 where the server does not say)."""

    samples: tuple[Reply, ...]
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
    rest: bool = False
    """What is pending waits until more is asked."""

    @property
    def busy(self) -> bool:
        """Something asked so far may still change the adapter that is served."""
        return self.learning and (self.training or (self.pending > 0 and not self.rest))


NOT_LEARNING = Status("", 0, False, False, "the server has no /ttrl/v1/status", 0)


async def ask_voted(
    client: openai.AsyncOpenAI,
    model: str,
    item: Item,
    max_tokens: int | None,
    label: str | None = None,
    *,
    store: bool = True,
) -> Reply:
    """One question to the vote; the temperature is the server's to choose. Raises one of FAILURES.

    With a ``label`` the server learns from it instead of from the vote; without ``store`` it learns
    nothing.
    """
    completion = await _complete(
        client,
        model,
        item,
        max_tokens,
        store=openai.omit if store else False,
        extra_body={"ttrl": {"label": label}} if label is not None else None,
    )
    body = (completion.model_extra or {}).get("ttrl")
    try:
        evidence = Evidence.model_validate(body) if body else None
    except pydantic.ValidationError as error:
        raise BadReply(f"unreadable vote evidence: {str(body)[:200]!r}") from error
    return _reply(completion.choices[0], evidence)


async def draw(client: openai.AsyncOpenAI, model: str, item: Item, how: Draw) -> Drawn:
    """k samples of one question, neither voted on nor kept. Raises one of FAILURES."""
    sampling: dict[str, Any] = {
        "n": how.k,
        "temperature": how.temperature,
        "top_p": how.top_p,
        "store": False,
    }
    sampling |= {"extra_headers": UNVOTED}
    completion = await _complete(client, model, item, how.max_tokens, **sampling)
    if len(completion.choices) != how.k:
        raise BadReply(f"asked for {how.k} choices, got {len(completion.choices)}")
    tokens = completion.usage.completion_tokens if completion.usage else 0
    return Drawn(tuple(map(_reply, completion.choices)), tokens)


UNVOTED = {"x-ttrl-vote": "off"}
"""The header with which a request is not voted on."""


async def _complete(
    client: openai.AsyncOpenAI, model: str, item: Item, max_tokens: int | None, **how: Any
) -> ChatCompletion:
    completion: object = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": item.prompt}],
        max_tokens=max_tokens or openai.omit,
        **item.request,
        **how,
    )
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise BadReply(f"not a chat completion: {str(completion)[:200]!r}")
    return completion


def _reply(choice: Choice, evidence: Evidence | None = None) -> Reply:
    calls = (call for call in choice.message.tool_calls or () if call.type == "function")
    made = tuple((call.function.name, _printable(call.function.arguments)) for call in calls)
    text = choice.message.content or (written(made) if made else "")
    return Reply(_printable(text), choice.finish_reason, made, evidence)


async def read_models(client: openai.AsyncOpenAI) -> list[str]:
    """The names the endpoint answers to. Raises one of FAILURES."""
    models = await client.models.list()
    try:
        return [model.id for model in models.data]
    except AttributeError as error:
        raise BadReply(f"its /models is no list of models: {str(models)[:200]!r}") from error


async def read_status(client: openai.AsyncOpenAI) -> Status:
    """The server's state of learning; NOT_LEARNING of any other OpenAI server."""
    root = client.base_url.raw_path.removesuffix(b"v1/")
    url = client.base_url.copy_with(raw_path=root + b"ttrl/v1/status")
    try:
        body: Any = await client.get(str(url), cast_to=object)
    except openai.NotFoundError:
        return NOT_LEARNING
    try:
        names = ("pending", "training", "learning", "reason", "promoted")
        known = {name: body[name] for name in names} | {"rest": bool(body.get("rest"))}
        return Status(body["served"]["name"], **known)
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
