"""Keeps the engines running: start, wait until ready, load versions, restart with back-off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import NoReturn

import structlog

from ttrl_server.engine.client import EngineClient
from ttrl_server.engine.command import engine_command, socket_dir, socket_path
from ttrl_server.engine.fleet import Fleet, Replica
from ttrl_server.engine.placement import Placement
from ttrl_server.errors import ConfigError, EngineError
from ttrl_server.process import ChildTree
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics

log = structlog.get_logger()

BACK_OFF_S = (1, 2, 4, 8, 15, 30, 60)
FIRST_STARTS = 3
"""Failed starts of an engine that has never served, after which the settings must be wrong."""
POLL_S = 0.5
ATTACHED_POLL_S = 5.0
PROGRESS_S = 10.0


def make_clients(config: Config, key: str) -> list[EngineClient]:
    """One client for each replica that we start, or one for the attached server."""
    url, timeout_s = config.engine.url, config.engine.load_timeout_s
    if url:
        return [EngineClient(url=url, key=config.engine.key or "", timeout_s=timeout_s)]
    sockets = (str(socket_path(config, i)) for i in range(config.replicas))
    return [EngineClient(socket=path, key=key, timeout_s=timeout_s) for path in sockets]


def make_socket_dir(config: Config) -> None:
    """Makes the sockets' folder, private to this user; raises ConfigError when it is not."""
    folder = socket_dir(config)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_mode & 0o077:
        raise ConfigError(f"{folder} is not private to this user: remove it and start again")


async def supervise(
    config: Config, fleet: Fleet, place: Placement, replica: Replica, key: str
) -> None:
    """Runs one replica for ever; a cancel stops it and its process."""
    failures, has_served = 0, False
    log_file = config.state_dir / "logs" / f"engine{replica.index}.log"
    await replica.client.open()
    try:
        if config.engine.url:
            await _watch_attached(fleet, place, replica)
        while True:
            started = time.monotonic()
            has_served |= await _run_once(config, fleet, place, replica, key, log_file)
            # After more than 300 s, the back-off starts again.
            failures = 0 if time.monotonic() - started > 300 else failures + 1
            if failures >= FIRST_STARTS and not has_served:
                raise ConfigError(f"the engine did not start in {failures} tries: see {log_file}")
            pause = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
            metrics.RESTARTS.labels("engine").inc()
            log.error("engine.restarting", replica=replica.index, in_s=pause)
            await asyncio.sleep(pause)
    finally:
        await replica.client.close()


async def _run_once(
    config: Config, fleet: Fleet, place: Placement, replica: Replica, key: str, log_file: Path
) -> bool:
    """From start to death of one vLLM process; True if it has served."""
    argv, env = engine_command(config, replica.index)
    socket_path(config, replica.index).unlink(missing_ok=True)
    name, patience = f"engine{replica.index}", config.engine.drain_timeout_s
    tree = ChildTree(name, argv, env | {"VLLM_API_KEY": key}, log_file, grace_s=patience)
    await tree.start()
    replica.failed.clear()
    death = asyncio.create_task(tree.wait())
    failed = asyncio.create_task(replica.failed.wait())
    birth = asyncio.create_task(_until_ready(config, place, replica))
    try:
        await asyncio.wait({death, birth}, return_when=asyncio.FIRST_COMPLETED)
        if birth.done() and not death.done() and birth.exception() is None:
            await asyncio.wait({death, failed}, return_when=asyncio.FIRST_COMPLETED)
            # It gets no new questions; the running ones may still finish.
            if not death.done():
                await fleet.until(lambda: not replica.questions, patience)
            code = death.result() if death.done() else "it does not answer"
            log.error("engine.died", replica=replica.index, code=code, log=str(log_file))
        elif birth.done() and not death.done():
            log.error("engine.start_failed", replica=replica.index, reason=str(birth.exception()))
        else:
            log.error(
                "engine.start_failed", replica=replica.index, log=str(log_file), tail=tree.tail()
            )
        return birth.done() and birth.exception() is None
    finally:
        fleet.forget(replica)
        birth.cancel()
        failed.cancel()
        await asyncio.shield(tree.stop())
        await asyncio.gather(birth, death, failed, return_exceptions=True)
        fleet.announce()


async def _until_ready(config: Config, place: Placement, replica: Replica) -> None:
    started = said = time.monotonic()
    limit = config.engine.startup_timeout_s
    while not await replica.client.healthy():
        now = time.monotonic()
        if now - started > limit:
            raise EngineError(f"not ready after engine.startup_timeout_s = {limit:g} s")
        if now - said > PROGRESS_S:
            said = now
            log.info("engine.loading", replica=replica.index, elapsed_s=round(now - started))
        await asyncio.sleep(POLL_S)
    await place.bring_up(replica)
    log.info("engine.ready", replica=replica.index, seconds=round(time.monotonic() - started, 1))


async def _watch_attached(fleet: Fleet, place: Placement, replica: Replica) -> NoReturn:
    """Watches an attached engine; loads the needed versions again whenever it is back."""
    while True:
        healthy = await replica.client.healthy()
        if healthy and not replica.ready:
            with contextlib.suppress(EngineError):
                await place.bring_up(replica)
                log.info("engine.attached", replica=replica.index)
        elif not healthy and replica.ready:
            fleet.forget(replica)
            log.error("engine.lost", replica=replica.index)
        await asyncio.sleep(ATTACHED_POLL_S if replica.ready else POLL_S)
