"""The OpenAI routes: completions (voted on or passed through) and the list of models."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.answering.flights import Progress
from ttrl_server.answering.pipeline import Pipeline
from ttrl_server.api import body, deadline, extension, passthrough, shapes, sse
from ttrl_server.api.shapes import Kind
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import RequestError
from ttrl_server.learning.reasons import unvoted_class
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.types import Question

T = TypeVar("T")

TRAIN_HEADER = "x-ttrl-train"


class OpenAIRoutes:
    """Handlers of ``/v1/…``. They keep no state."""

    def __init__(self, config: Config, fleet: Fleet, pipeline: Pipeline) -> None:
        self._config, self._fleet, self._pipeline = config, fleet, pipeline
        self._limit = int(config.api.max_body_mib * 2**20)

    async def chat(self, request: Request) -> Response:
        return await self._complete(request, "chat")

    async def completion(self, request: Request) -> Response:
        return await self._complete(request, "completion")

    async def _complete(self, request: Request, kind: Kind) -> Response:
        data = body.parse(await body.read(request, self._limit))
        shapes.check_common(data, kind)
        asked = extension.read(data, self._config)
        if why := shapes.unvoted(data, kind, self._config, asked):
            reason = unvoted_class(why)
            metrics.UNVOTED.labels(reason).inc()
            self._pipeline.recent.note_unvoted(reason)
            return self._forward(data, samples=data.get("n") or 1, chat=kind == "chat", unvoted=why)
        question = shapes.question(
            data,
            kind,
            self._config,
            asked,
            id=uuid.uuid4().hex,
            tenant=request.scope["ttrl.tenant"],
            may_train=request.headers.get(TRAIN_HEADER, "on").lower() not in ("off", "false", "0"),
            deadline_s=deadline.of(request.headers, streaming=bool(data.get("stream"))),
        )
        if data.get("stream"):
            return await self._stream(question, data.get("stream_options"))
        answer = await _unless_gone(request, self._pipeline.answer(question))
        about = {"x-ttrl-adapter": answer.model, TRAIN_HEADER: answer.training}
        if answer.vote.stopped == "unvotable":
            about["x-ttrl-unvoted"] = "unvotable"
        return JSONResponse(shapes.response(question, answer), headers=about)

    async def _stream(self, question: Question, options: Any) -> Response:
        """Streams a voted answer. A late failure is an event in the stream, not a status."""
        shared = [Progress(question.vote.samples)]
        task = asyncio.create_task(
            self._pipeline.answer(question, lambda theirs: shared.__setitem__(0, theirs))
        )
        await asyncio.wait({task}, timeout=sse.HEARTBEAT_S)
        if task.done() and (error := task.exception()):
            raise error
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        model = shared[0].model  # empty while the question waits for its cohort
        return sse.Closing(
            sse.voted(question, task, shared[0], include_usage=usage),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache"} | ({"x-ttrl-adapter": model} if model else {}),
            close=task.cancel,
        )

    async def passed_through(self, request: Request) -> Response:
        data = body.parse(await body.read(request, self._limit))
        return self._forward(data, samples=1, chat=False)

    def _forward(
        self, data: dict[str, Any], *, samples: int, chat: bool, unvoted: str = ""
    ) -> Response:
        return passthrough.Relay(
            data,
            self._config,
            self._fleet,
            self._pipeline.room,
            version=passthrough.pinned(data, self._config),
            samples=samples,
            chat=chat,
            unvoted=unvoted,
        )

    async def models(self, request: Request) -> Response:
        names = [self._config.name, version_name(self._config.name, 0)]
        names += [version_name(self._config.name, v) for v in sorted(self._fleet.living()) if v]
        about = {"object": "model", "created": int(time.time()), "owned_by": "ttrl-server"}
        return JSONResponse({"object": "list", "data": [{"id": name, **about} for name in names]})


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; cancels ``work`` when the client disconnects."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.create_task(work), asyncio.create_task(disconnected())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestError("The client went away.", status=499, code="client_closed_request")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
