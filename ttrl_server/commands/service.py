"""Builds all parts of the gateway and connects them; runs its background tasks.

fleet, placement ◀─ promotions ◀─ learning        routes: OpenAI, admin, feedback, adapters
     ▲                   gate        store              │
one supervisor an engine, one for the trainer      pipeline
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog

from ttrl_server.answering.pipeline import Pipeline
from ttrl_server.api import app
from ttrl_server.api.adapters import AdapterRoutes
from ttrl_server.api.admin import AdminRoutes
from ttrl_server.api.feedback import FeedbackRoute
from ttrl_server.api.openai import OpenAIRoutes
from ttrl_server.commands import banner
from ttrl_server.engine.fleet import Fleet
from ttrl_server.engine.placement import Placement
from ttrl_server.engine.supervisor import make_clients, make_socket_dir
from ttrl_server.engine.supervisor import supervise as supervise_engine
from ttrl_server.errors import ConfigError
from ttrl_server.learning.feedback import Feedback
from ttrl_server.learning.leases import Learning
from ttrl_server.promotion.gate import Gate
from ttrl_server.promotion.operator import Operator
from ttrl_server.promotion.promotions import Promotions
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.names import version_name
from ttrl_server.settings import sources
from ttrl_server.settings.config import Config
from ttrl_server.store.experiences import Experiences
from ttrl_server.telemetry import summary
from ttrl_server.training import supervisor as trainer

log = structlog.get_logger()

Work = Callable[[], Coroutine[Any, Any, None]]
RETRY_S = 10.0


class Service:
    """All parts of one gateway."""

    def __init__(self, config: Config, port: int) -> None:
        self.config = config
        self.url = config.url(port)
        self.failure: BaseException | None = None
        self.stop: Callable[[], None] = lambda: None
        """Ends the server that runs this service."""
        self.engine_key = secrets.token_urlsafe(32)
        self.admin_key = config.api.admin_key or secrets.token_urlsafe(32)
        root = config.adapters_root
        root.mkdir(parents=True, exist_ok=True)
        if not config.engine.url:
            make_socket_dir(config)
        self.fleet = Fleet(config, make_clients(config, self.engine_key))
        gate, ledger = Gate(config), Ledger(root)
        self.place = Placement(config, self.fleet, ledger, root)
        self.promotions = Promotions(config, self.fleet, self.place, ledger, gate)
        self.learning: Learning | None = None
        feedback: Feedback | None = None
        if config.train.enabled:
            url = config.store.url or f"sqlite:///{config.state_dir / 'store.sqlite'}"
            store = Experiences(url)
            self.learning = Learning(config, store, self.fleet, self.promotions, gate)
            feedback = Feedback(config, self.learning) if config.train.feedback else None
        pipeline = Pipeline(config, self.fleet, self.learning.record if self.learning else None)
        self._forms = pipeline.forms
        self.app = app.build(
            OpenAIRoutes(config, self.fleet, pipeline),
            AdminRoutes(config, self.fleet, self.learning, pipeline.recent),
            FeedbackRoute(feedback),
            AdapterRoutes(Operator(config, self.fleet, self.promotions)),
            config=config.api,
            admin_key=self.admin_key,
            lifespan=self.lifespan,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Starts the background tasks, and ends them after the last request."""
        if self.learning:
            await self.learning.remember(self._forms)

        def run(part: str, work: Work) -> asyncio.Task[None]:
            return asyncio.create_task(_whatever_happens(part, work), name=part)

        tasks = [asyncio.create_task(self._greet(), name="banner")]
        tasks += [run("learning", self._learn), run("summary", self._summarise)]
        config, place, key = self.config, self.place, self.engine_key
        for replica in self.fleet.replicas:
            work = functools.partial(supervise_engine, config, self.fleet, place, replica, key)
            tasks.append(run(f"engine{replica.index}", work))
            tasks[-1].add_done_callback(self._engine_ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.learning:
                await self.learning.close()

    def _engine_ended(self, task: asyncio.Task[None]) -> None:
        """Stops the service: supervision ends only with a ConfigError."""
        if not task.cancelled() and (error := task.exception()):
            self.failure = error
            self.stop()

    async def _greet(self) -> None:
        """Prints the banner when an engine is ready."""
        await self.fleet.until(lambda: self.fleet.ready)
        print(banner.render(self.config, self.url, self.fleet), flush=True)

    async def _learn(self) -> None:
        """When an engine is ready: judges what a crash left without judgement, then trains."""
        if self.learning is None:
            return
        await self.fleet.until(lambda: self.fleet.ready)
        await self.learning.resume()
        resolved = json.dumps(sources.redacted(self.config), indent=2)
        self.config.resolved_file.write_text(resolved)
        while self.config.train.launch == "here":
            started = self.learning.trainer_started
            why = await trainer.supervise(self.config, self.url, self.admin_key, started)
            self.learning.alarms.end(why)
            await self.learning.alarms.until_learning()

    async def _summarise(self) -> None:
        async def served() -> dict[str, object]:
            pending = (await self.learning.status())["pending"] if self.learning else 0
            name = version_name(self.config.name, self.fleet.serving)
            return {"pending": pending, "served": name}

        await summary.every_minute(served)


async def _whatever_happens(part: str, work: Work) -> None:
    """Runs ``work``; logs any error but ConfigError, and runs it again."""
    while True:
        try:
            return await work()
        except ConfigError:
            raise
        except Exception as error:
            log.error("service.failed", part=part, reason=repr(error), again_in_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
