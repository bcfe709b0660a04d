"""The routes that are not OpenAI's: health, metrics, status, and the trainer's own."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.api import body
from ttrl_server.config import Config
from ttrl_server.engine.command import version_name
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import RequestError
from ttrl_server.guards.reasons import Recent
from ttrl_server.learning import Learning
from ttrl_server.telemetry import metrics

_LIMIT = 2**20


class _Lease(msgspec.Struct):
    worker: str


class _Batch(msgspec.Struct):
    batch: str


class _Skip(msgspec.Struct):
    batch: str
    reason: str
    metrics: dict[str, float] = {}


class _Proposal(msgspec.Struct):
    batch: str
    folder: str
    metrics: dict[str, float] = {}


class AdminRoutes:
    """Handlers of ``/health``, ``/ready``, ``/metrics`` and ``/ttrl/v1/…``."""

    def __init__(self, config: Config, fleet: Fleet, learning: Learning | None, recent: Recent) -> None:
        self._config, self._fleet, self._learning, self._recent = config, fleet, learning, recent

    async def health(self, request: Request) -> Response:
        """The gateway lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Questions are answered: some engine is up with the served version."""
        if self._fleet.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "starting"}, 503, {"retry-after": "5"})

    async def metrics(self, request: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    async def status(self, request: Request) -> Response:
        """What is served, what waits to be learnt, whether learning goes on, and in words why it does not."""
        learning = await self._learning.status() if self._learning else _NOT_LEARNING
        number = self._fleet.serving  # read last: what was learnt by then is served by then
        served = {"number": number, "name": version_name(self._config, number)}
        advice = f"learning has ended: {learning['reason']}" if learning["reason"] else self._recent.advice()
        about = {"model": self._config.name, "served": served, "ready": self._fleet.ready, "advice": advice}
        return JSONResponse(about | learning)

    # ------------------------------------------------------------ the trainer's

    async def lease(self, request: Request) -> Response:
        await body.typed(request, _Lease, _LIMIT)
        batch = await self._learner.lease()
        if batch is None:
            return Response(status_code=204)
        return Response(msgspec.msgpack.encode(batch), media_type="application/msgpack")

    async def renew(self, request: Request) -> Response:
        asked = await body.typed(request, _Batch, _LIMIT)
        await self._learner.renew(asked.batch)
        return Response(status_code=204)

    async def skip(self, request: Request) -> Response:
        asked = await body.typed(request, _Skip, _LIMIT)
        await self._learner.skip(asked.batch, asked.reason, asked.metrics)
        return Response(status_code=204)

    async def propose(self, request: Request) -> Response:
        asked = await body.typed(request, _Proposal, _LIMIT)
        state, reason = await self._learner.propose(asked.batch, asked.folder, asked.metrics)
        reply = {"state": state, "reason": reason, "parent": self._learner.parent()}
        return Response(msgspec.json.encode(reply), media_type="application/json")

    @property
    def _learner(self) -> Learning:
        if self._learning is None:
            raise RequestError("Learning is off on this server (train.enabled).", status=409, code="learning_off")
        return self._learning


_NOT_LEARNING = {"learning": False, "reason": "train.enabled is false", "pending": 0, "training": False, "promoted": 0}
