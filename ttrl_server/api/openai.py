"""The OpenAI routes: completions (voted on or passed through) and the list of models."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.answering.flights import Progress
from ttrl_server.answering.pipeline import Pipeline
from ttrl_server.api import body, extension, shapes, sse
from ttrl_server.api.passthrough import Relay, while_there
from ttrl_server.api.shapes import Kind
from ttrl_server.engine.fleet import Fleet
from ttrl_server.learning.reasons import unvoted_class
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.types import Question


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
        if kind == "chat" and self._config.chat_template_kwargs:
            theirs = data.get("chat_template_kwargs") or {}
            data["chat_template_kwargs"] = self._config.chat_template_kwargs | theirs
        asked = extension.read(data, self._config)
        if why := shapes.unvoted(data, kind, self._config, asked):
            reason = unvoted_class(why)
            metrics.UNVOTED.labels(reason).inc()
            self._pipeline.recent.note_unvoted(reason)
            samples, room = data.get("n") or 1, self._pipeline.room
            return Relay(data, self._fleet, room, asked.version, samples, unvoted=why)
        headers, tenant = request.headers, request.scope["ttrl.tenant"]
        question = shapes.question(data, kind, self._config, asked, headers, tenant)
        if data.get("stream"):
            return await self._stream(question, data.get("stream_options"))
        answer = None
        async with while_there(request.receive):
            answer = await self._pipeline.answer(question)
        if answer is None:
            raise body.gone()
        about = {"x-ttrl-adapter": answer.model, shapes.TRAIN_HEADER: answer.training}
        if answer.vote.stopped == "unvotable":
            about["x-ttrl-unvoted"] = "unvotable"
        return JSONResponse(shapes.response(question, answer), headers=about)

    async def _stream(self, question: Question, options: Any) -> Response:
        """Streams a voted answer. A late failure is an event in the stream, not a status."""
        shared: list[Progress] = []
        task = asyncio.create_task(self._pipeline.answer(question, shared.append))
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
        version = extension.read(data, self._config).version
        return Relay(data, self._fleet, self._pipeline.room, version)

    async def models(self, request: Request) -> Response:
        names = [self._config.name, version_name(self._config.name, 0)]
        names += [version_name(self._config.name, v) for v in sorted(self._fleet.living()) if v]
        about = {"object": "model", "created": int(time.time()), "owned_by": "ttrl-server"}
        return JSONResponse({"object": "list", "data": [{"id": name, **about} for name in names]})
