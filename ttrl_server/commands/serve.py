"""``ttrl-serve``: builds the rooms, starts and watches engine and trainer, answers, and drains at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttrl_server.errors import ConfigError, TtrlError
from ttrl_server.settings import sources
from ttrl_server.settings.config import Config

if TYPE_CHECKING:
    from ttrl_server.engine.fleet import Replica

Work = Callable[[], Coroutine[Any, Any, None]]
RETRY_S = 10.0
CPU_PLUGINS = frozenset({"ttrl_cpu_lora", "ttrl_cpu_seed"})
"""What mends vLLM on a CPU, loaded by vLLM itself."""


def main() -> None:
    """Console script."""
    try:
        invocation = sources.parse(sys.argv[1:])
        if invocation.dry_run:
            print(dry_run(invocation.config))
            return
        _check_machine(invocation.config)
        _run(invocation.config)
    except ConfigError as error:
        print(f"ttrl-serve: {error}", file=sys.stderr)
        sys.exit(2)
    except TtrlError as error:
        print(f"ttrl-serve: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


# ---------------------------------------------------------------- what would be started


def dry_run(config: Config) -> str:
    """The resolved settings and the exact command lines with their environment, as text; starts nothing."""
    import yaml

    from ttrl_server.engine.command import engine_command
    from ttrl_server.training.command import deepspeed_config, trainer_command

    parts = ["# settings", yaml.safe_dump(sources.redacted(config), sort_keys=False).rstrip()]
    for replica in range(config.replicas if not config.engine.url else 0):
        parts += [f"\n# engine {replica}", _shell(*engine_command(config, replica), VLLM_API_KEY="<random>")]
    if config.train.enabled:
        argv, env = trainer_command(config, config.resolved_file, gateway_url(config, config.api.port))
        parts += ["\n# trainer", _shell(argv, env, TTRL_ADMIN_KEY="<random>")]
        parts += ["\n# deepspeed", json.dumps(deepspeed_config(config), indent=2)]
    return "\n".join(parts)


def _shell(argv: list[str], env: dict[str, str], **secret: str) -> str:
    names = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    names += [f"{name}={value}" for name, value in secret.items()]
    return " \\\n  ".join([*names, shlex.join(argv)])


def gateway_url(config: Config, port: int) -> str:
    host = "127.0.0.1" if config.api.host in ("0.0.0.0", "localhost") else config.api.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_machine(config: Config) -> None:
    """What only matters when something is really started."""
    if config.hardware == "cuda":
        wanted = sorted({*config.engine.devices, *config.train.devices})
        missing = [gpu for gpu in wanted if not Path(f"/dev/nvidia{gpu}").exists()]
        if missing:
            raise ConfigError(
                f"the settings want GPUs {wanted}, this machine has no GPU {missing[0]}: pass --gpus N, "
                "--engine.devices and --train.devices, or --hardware cpu"
            )
    if config.hardware == "cpu" and not config.engine.url and not _has_cpu_kernels():
        raise ConfigError(
            "vLLM would not load the plugins ttrl_cpu_lora and ttrl_cpu_seed, without which a base request may be "
            "answered by an adapter, and a seed may end the engine: install the package (pip install -e .), and name "
            "both in VLLM_PLUGINS if that is set"
        )
    looks_local = config.model.startswith(("/", "./", "../", "~"))
    if looks_local and not (Path(config.model) / "config.json").is_file():
        raise ConfigError(f"--model {config.model}: there is no config.json in that folder")


def _has_cpu_kernels() -> bool:
    from importlib.metadata import entry_points

    allowed = os.environ.get("VLLM_PLUGINS")
    installed = {plugin.name for plugin in entry_points(group="vllm.general_plugins")}
    return installed >= CPU_PLUGINS and (allowed is None or CPU_PLUGINS.issubset(allowed.split(",")))


# ---------------------------------------------------------------- the service


def _run(config: Config) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))


async def _serve(config: Config) -> None:
    import uvicorn

    from ttrl_server.telemetry import log

    log.configure(config.log.format, config.log.level)
    config.state_dir.mkdir(parents=True, exist_ok=True)
    listening = _listen(config)
    port = listening.getsockname()[1]
    service = Service(config, port)
    server = uvicorn.Server(
        uvicorn.Config(
            service.app,
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=round(config.engine.drain_timeout_s),
        )
    )
    service.stop = lambda: setattr(server, "should_exit", True)
    await server.serve(sockets=[listening])
    if service.failure:
        raise service.failure


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.api.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.api.host, config.api.port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {config.api.host}:{config.api.port} ({error.strerror}): pass --port"
        ) from None
    return listening


class Service:
    """Everything that lives as long as the gateway, wired by hand."""

    def __init__(self, config: Config, port: int) -> None:
        from ttrl_server.answering.pipeline import Pipeline
        from ttrl_server.api import app
        from ttrl_server.api.adapters import AdapterRoutes
        from ttrl_server.api.admin import AdminRoutes
        from ttrl_server.api.feedback import FeedbackRoute
        from ttrl_server.api.openai import OpenAIRoutes
        from ttrl_server.engine.fleet import Fleet
        from ttrl_server.engine.placement import Placement
        from ttrl_server.engine.supervisor import make_clients, make_socket_dir
        from ttrl_server.learning.feedback import Feedback
        from ttrl_server.learning.leases import Learning
        from ttrl_server.promotion.gate import Gate
        from ttrl_server.promotion.operator import Operator
        from ttrl_server.promotion.promotions import Promotions
        from ttrl_server.registry.ledger import Ledger
        from ttrl_server.store.experiences import Experiences

        self.config, self.port = config, port
        self.failure: BaseException | None = None
        self.stop: Callable[[], None] = lambda: None
        """Ends the server that runs this service."""
        self.engine_key = secrets.token_urlsafe(32)
        self.admin_key = config.api.admin_key or secrets.token_urlsafe(32)
        self.root = config.adapters_root
        self.root.mkdir(parents=True, exist_ok=True)
        if not config.engine.url:
            make_socket_dir(config)
        self.fleet = Fleet(config, make_clients(config, self.engine_key))
        gate = Gate(config)
        ledger = Ledger(self.root)
        self.place = Placement(config, self.fleet, ledger, self.root)
        self.promotions = Promotions(config, self.fleet, self.place, ledger, gate)
        self.learning: Learning | None = None
        if config.train.enabled:
            store = Experiences.open(config.store.url or f"sqlite:///{config.state_dir / 'store.sqlite'}")
            self.learning = Learning(config, store, self.fleet, self.promotions, gate)
        listens = self.learning if config.train.feedback else None
        feedback = Feedback(config, listens) if listens else None
        pipeline = Pipeline(config, self.fleet, self.learning.record if self.learning else None)
        self.app = app.build(
            OpenAIRoutes(config, self.fleet, pipeline),
            AdminRoutes(config, self.fleet, self.learning, pipeline.recent),
            FeedbackRoute(feedback),
            AdapterRoutes(Operator(config, self.fleet, self.promotions)),
            keys=config.api.keys,
            admin_key=self.admin_key,
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: object) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._run(), name="service"), asyncio.create_task(self._summarise())]
        tasks += self._engines()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.learning:
                await self.learning.close()

    def _engines(self) -> list[asyncio.Task[None]]:
        from ttrl_server.engine import supervisor

        def engine(replica: Replica) -> Work:
            return lambda: supervisor.supervise(self.config, self.fleet, self.place, replica, self.engine_key)

        tasks = [
            asyncio.create_task(_whatever_happens(f"engine{replica.index}", engine(replica)))
            for replica in self.fleet.replicas
        ]
        for task in tasks:
            task.add_done_callback(self._engine_ended)
        return tasks

    def _engine_ended(self, task: asyncio.Task[None]) -> None:
        """Only settings that cannot work end an engine's supervision: the service stops, and says so."""
        if not task.cancelled() and (error := task.exception()):
            self.failure = error
            self.stop()

    async def _run(self) -> None:
        """After the engine is up: greet, finish what a crash left, then train for ever."""
        from ttrl_server.commands import banner

        await self.fleet.until(lambda: self.fleet.ready)
        print(banner.render(self.config, gateway_url(self.config, self.port), self.fleet, self.root), flush=True)
        if not self.learning:
            return
        await _whatever_happens("learning", self._learn)

    async def _summarise(self) -> None:
        from ttrl_server.registry.names import version_name
        from ttrl_server.telemetry import summary

        async def served() -> dict[str, object]:
            pending = (await self.learning.status())["pending"] if self.learning else 0
            return {"pending": pending, "served": version_name(self.config.name, self.fleet.serving)}

        await _whatever_happens("summary", lambda: summary.every_minute(served))

    async def _learn(self) -> None:
        from ttrl_server.training.supervisor import supervise

        assert self.learning is not None
        await self.learning.resume()
        self.config.resolved_file.write_text(json.dumps(sources.redacted(self.config), indent=2))
        url = gateway_url(self.config, self.port)
        while self.config.train.launch == "here":
            given_up = await supervise(self.config, url, self.admin_key, self.learning.trainer_started)
            self.learning.alarms.end(given_up)
            await self.learning.alarms.until_learning()


async def _whatever_happens(part: str, work: Work) -> None:
    """Runs what must not end unseen: a full disk or a bug is logged, and it is tried again."""
    import structlog

    while True:
        try:
            return await work()
        except ConfigError:
            raise
        except Exception as error:
            structlog.get_logger().error("service.failed", part=part, reason=repr(error), again_in_s=RETRY_S)
            await asyncio.sleep(RETRY_S)


if __name__ == "__main__":
    main()
