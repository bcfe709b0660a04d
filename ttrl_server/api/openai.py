"""The routes of completions, in every dialect (voted on or passed through), and the models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.answering.flights import Progress
from ttrl_server.answering.pipeline import Answer, Pipeline
from ttrl_server.api import body, extension, messages, responses, shapes, sse
from ttrl_server.api.envelope import for_messages
from ttrl_server.api.passthrough import Relay, while_there
from ttrl_server.engine.fleet import Fleet, engine_not_ready
from ttrl_server.learning.reasons import unvoted_class
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.types import Kind, Question, Rollout


@dataclass(frozen=True, slots=True)
class Dialect:
    """How clients of one route write requests and read replies."""

    kind: Kind
    as_chat: Callable[[dict[str, Any]], dict[str, Any]]
    """The request with a chat request's names."""
    response: Callable[[Question, Answer], dict[str, Any]]
    events: Callable[[Question, Answer, bool, bool], Iterable[sse.Event]]
    """The events of a stream; whether the client wants one with the usage, and whether there was a
    preview."""
    problem: Callable[[dict[str, Any]], Iterable[sse.Event]] = lambda error: [("", error), sse.DONE]
    """OpenAI's envelope of an error as the last events."""
    preview: Callable[[Question, Rollout], Iterable[sse.Event]] | None = None
    """The events of a sample that is shown while the vote runs (vote.stream)."""


CHAT = Dialect("chat", dict, shapes.response, shapes.chunks, preview=shapes.preview)
COMPLETION = Dialect("completion", dict, shapes.response, shapes.chunks)
MESSAGES = Dialect(
    "messages",
    messages.as_chat,
    messages.response,
    lambda question, answer, *_: messages.events(question, answer),
    lambda error: [("error", for_messages(error))],
)
RESPONSES = Dialect(
    "responses",
    responses.as_chat,
    responses.response,
    lambda question, answer, *_: responses.events(question, answer),
    lambda error: [("error", error["error"] | {"type": "error", "sequence_number": 0})],
)


class OpenAIRoutes:
    """Handlers of ``/v1/…``. They keep no state."""

    def __init__(self, config: Config, fleet: Fleet, pipeline: Pipeline) -> None:
        self._config, self._fleet, self._pipeline = config, fleet, pipeline
        self._limit = int(config.api.max_body_mib * 2**20)
        self._started = int(time.time())

    async def chat(self, request: Request) -> Response:
        return await self._complete(request, CHAT)

    async def completion(self, request: Request) -> Response:
        return await self._complete(request, COMPLETION)

    async def messages(self, request: Request) -> Response:
        return await self._complete(request, MESSAGES)

    async def responses(self, request: Request) -> Response:
        return await self._complete(request, RESPONSES)

    async def _complete(self, request: Request, dialect: Dialect) -> Response:
        data, kind = body.parse(await body.read(request, self._limit)), dialect.kind
        chat = dialect.as_chat(data)
        shapes.check_common(chat, kind)
        if kind != "completion" and self._config.chat_template_kwargs:
            theirs = data.get("chat_template_kwargs") or {}
            ours = {"chat_template_kwargs": self._config.chat_template_kwargs | theirs}
            data, chat = data | ours, chat | ours
        asked = extension.read(data, self._config)
        asked_off = shapes.is_off(request.headers, shapes.VOTE_HEADER)
        why = "header" if asked_off and asked.samples is None else None
        if why := why or shapes.unvoted(
            chat, kind, self._config, asked, kind in self._fleet.renders
        ):
            reason = unvoted_class(why)
            metrics.UNVOTED.labels(reason).inc()
            self._pipeline.recent.note_unvoted(reason)
            samples, room = data.get("n") or 1, self._pipeline.room
            return Relay(data, self._fleet, room, asked.version, samples, unvoted=why)
        headers, tenant = request.headers, request.scope["ttrl.tenant"]
        question = shapes.question(data, chat, kind, self._config, asked, headers, tenant)
        if data.get("stream"):
            return await self._stream(question, dialect, data.get("stream_options"))
        answer = None
        async with while_there(request.receive):
            answer = await self._pipeline.answer(question)
        if answer is None:
            raise body.gone()
        about = {"x-ttrl-adapter": answer.model, shapes.TRAIN_HEADER: answer.training}
        if answer.vote.stopped == "unvotable":
            about["x-ttrl-unvoted"] = "unvotable"
        return JSONResponse(dialect.response(question, answer), headers=about)

    async def _stream(self, question: Question, dialect: Dialect, options: Any) -> Response:
        """Streams a voted answer. A late failure is an event in the stream, not a status."""
        shared: list[Progress] = []
        task = asyncio.create_task(self._pipeline.answer(question, shared.append))
        await asyncio.wait({task}, timeout=sse.HEARTBEAT_S)
        if task.done() and (error := task.exception()):
            raise error
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        question = replace(question, id=shared[0].id)
        preview, model = None, shared[0].model  # empty while the question waits for its cohort
        if self._config.vote.stream == "first" and dialect.preview:
            preview = partial(dialect.preview, question)

        def events(answer: Answer, begun: bool) -> Iterable[sse.Event]:
            return dialect.events(question, answer, usage, begun)

        return sse.Closing(
            sse.voted(task, shared[0], events, dialect.problem, preview),
            media_type="text/event-stream",
            headers=sse.UNBUFFERED | ({"x-ttrl-adapter": model} if model else {}),
            close=task.cancel,
        )

    async def passed_through(self, request: Request) -> Response:
        data = body.parse(await body.read(request, self._limit))
        version = extension.read(data, self._config).version
        return Relay(data, self._fleet, self._pipeline.room, version)

    async def models(self, request: Request) -> Response:
        """vLLM's list: what improves, the base model, and every version that may be named."""
        versions = sorted(self._fleet.living() - {0})
        pins = [self._card(version_name(self._config.name, v), pinned=True) for v in (0, *versions)]
        data = [self._card(self._config.name, pinned=False), *pins]
        return JSONResponse({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        version = extension.read({"model": name}, self._config).version
        with self._fleet.hold(version):
            return JSONResponse(self._card(name, pinned=version is not None))

    def _card(self, name: str, pinned: bool) -> dict[str, Any]:
        if not self._fleet.ready:
            raise engine_not_ready()
        return {
            "id": name,
            "object": "model",
            "created": self._started,
            "owned_by": "ttrl-server",
            "root": self._config.model,
            "parent": self._config.name if pinned else None,
            "max_model_len": self._fleet.context,
            "permission": [],
        }
