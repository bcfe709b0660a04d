"""The gateway starts the trainer after the engine and restarts a dead trainer after a pause. After
several deaths in a row the gateway does not restart it again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from ttrl_server.process import ChildTree
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.training.command import KEY_FILE, trainer_command

log = structlog.get_logger()

BACK_OFF_S = (4, 4, 8, 15, 30, 60)
"""Longer than a dead trainer's last long poll, which could otherwise lease a batch to nobody."""
GIVE_UP_AFTER = 6
"""After this many deaths in a row, each within STEADY_S of a start, learning is off. Serving goes
on."""
STEADY_S = 120.0
GRACE_S = 5.0


async def supervise(
    config: Config, url: str, admin_key: str, nobody_works: Callable[[], Awaitable[None]]
) -> str:
    """Runs the trainer until GIVE_UP_AFTER deaths in a row; returns the reason. Cancel to stop.

    ``nobody_works`` is awaited before each start and after each death: it puts the dead trainer's
    batches back into the queue. A trainer's death costs no answer (docs/design.md, rule 6).
    """
    failures, log_file = 0, config.state_dir / "logs" / "trainer.log"
    while failures < GIVE_UP_AFTER:
        started = time.monotonic()
        await nobody_works()
        argv, env = trainer_command(config, config.resolved_file, url)
        if config.train.hostfile:
            key_file = config.resolved_file.with_name(KEY_FILE)
            key_file.unlink(missing_ok=True)
            key_file.touch(mode=0o600, exist_ok=False)  # Nobody but its owner can read it.
            key_file.write_text(admin_key)
        env = env | {"TTRL_ADMIN_KEY": admin_key}
        tree = ChildTree("trainer", argv, env, log_file, grace_s=GRACE_S)
        await tree.start()
        log.info("trainer.started", ranks=config.train_ranks, log=str(log_file))
        try:
            code = await tree.wait()
        finally:
            await asyncio.shield(tree.stop())
        failures = 0 if time.monotonic() - started > STEADY_S else failures + 1
        pause = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
        metrics.RESTARTS.labels("trainer").inc()
        log.error("trainer.restarting", code=code, in_s=pause)
        await nobody_works()
        await asyncio.sleep(pause)
    return f"the trainer died {failures} times in a row; see {log_file}"
