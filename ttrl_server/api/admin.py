"""The routes that OpenAI does not have: health, metrics, status, and the trainer's routes."""

from __future__ import annotations

from importlib import metadata

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.api import body
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import RequestError
from ttrl_server.learning.leases import Learning
from ttrl_server.learning.reasons import Recent
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.training import messages

log = structlog.get_logger()

_LIMIT = 2**20


class AdminRoutes:
    """Handlers of ``/health``, ``/version``, ``/metrics`` and their like, and ``/ttrl/v1/…``."""

    def __init__(
        self, config: Config, fleet: Fleet, learning: Learning | None, recent: Recent
    ) -> None:
        self._config, self._fleet, self._learning, self._recent = config, fleet, learning, recent

    async def live(self, request: Request) -> Response:
        """Answers as long as the gateway runs."""
        return JSONResponse({"status": "ok"})

    async def version(self, request: Request) -> Response:
        return JSONResponse({"version": metadata.version("ttrl-server")})

    async def ready(self, request: Request) -> Response:
        """200 when at least one engine is ready with the served version, else 503: as vLLM, which
        opens its port only then."""
        if self._fleet.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "starting"}, 503, {"retry-after": "5"})

    async def metrics(self, request: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    async def status(self, request: Request) -> Response:
        """The served version, the groups that wait, whether learning goes on, and advice."""
        learning = await self._learning.status() if self._learning else _NOT_LEARNING
        number = self._fleet.serving  # read after the status: a promotion it counts is served
        served = {"number": number, "name": version_name(self._config.name, number)}
        advice = self._recent.advice()
        if learning["reason"]:
            advice = f"learning has ended: {learning['reason']}"
        about = {"model": self._config.name, "served": served, "ready": self._fleet.ready}
        return JSONResponse(about | {"advice": advice} | learning)

    async def resume(self, request: Request) -> Response:
        """Resumes learning after an alarm has ended it."""
        self._learner.alarms.resume()
        log.warning("audit", action="resume", by=request.scope["ttrl.id"])
        return await self.status(request)

    # ------------------------------------------------------------ the trainer's routes

    async def lease(self, request: Request) -> Response:
        await body.typed(request, messages.Lease, _LIMIT)
        batch = await self._learner.lease()
        if batch is None:
            return Response(status_code=204)
        return Response(msgspec.msgpack.encode(batch), media_type="application/msgpack")

    async def renew(self, request: Request) -> Response:
        asked = await body.typed(request, messages.Renew, _LIMIT)
        await self._learner.renew(asked.batch)
        return Response(status_code=204)

    async def skip(self, request: Request) -> Response:
        asked = await body.typed(request, messages.Skip, _LIMIT)
        await self._learner.skip(asked.batch, asked.reason, asked.metrics)
        return Response(status_code=204)

    async def propose(self, request: Request) -> Response:
        asked = await body.typed(request, messages.Propose, _LIMIT)
        judgement = await self._learner.propose(asked.batch, asked.folder, asked.metrics)
        outcome = messages.Outcome(judgement.state, judgement.reason, self._learner.parent())
        return Response(msgspec.json.encode(outcome), media_type="application/json")

    @property
    def _learner(self) -> Learning:
        if self._learning is None:
            message = "Learning is off on this server (train.enabled)."
            raise RequestError(message, status=409, code="learning_off")
        return self._learning


_NOT_LEARNING = {
    "learning": False,
    "reason": "train.enabled is false",
    "pending": 0,
    "rest": True,
    "training": False,
    "promoted": 0,
}
