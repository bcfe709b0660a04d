"""``ttrl-train``: the trainer process. This module reads the settings and sets up the process;
``loop`` does the learning."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import ValidationError

from ttrl_server.errors import ConfigError, TtrlError
from ttrl_server.process import owns_session
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import log
from ttrl_server.training.command import KEY_FILE, cpu_threads
from ttrl_server.training.gateway import Gateway

PR_SET_PDEATHSIG = 1

events = structlog.get_logger()


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when the gateway cannot be reached for too long, 2 when a setting is wrong (after
    one printed line). SIGTERM and SIGINT end the process with exit code 0."""
    parser = argparse.ArgumentParser(
        prog="ttrl-train",
        description="Learns from the batches a ttrl-serve gateway leases. Alone, or under "
        "torchrun or the DeepSpeed launcher with one process a rank. The gateway's admin key is "
        "read from TTRL_ADMIN_KEY.",
    )
    told = "settings as the gateway resolved them (JSON)"
    parser.add_argument("--config", type=Path, required=True, help=told)
    where = "URL of the gateway, such as http://10.0.0.5:8000"
    parser.add_argument("--gateway", required=True, help=where)
    args = parser.parse_args(argv)
    _end_on_signals()
    try:
        cfg, key = _read_config(args.config), _read_key(args.config)
        _settle(cfg)
        from ttrl_server.training import loop  # torch and DeepSpeed take seconds to import

        loop.run(cfg, Gateway(args.gateway, key))
        return 0
    except ConfigError as error:
        print(f"ttrl-train: {error}", file=sys.stderr)
        return 2
    except TtrlError as error:
        events.error("trainer.stopped", reason=str(error))
        return 1


def _read_config(path: Path) -> Config:
    try:
        return Config.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(map(str, first["loc"]))
        raise ConfigError(f"--config {path}: {setting} {first['msg']}") from error


def _read_key(config: Path) -> str:
    key = os.environ.get("TTRL_ADMIN_KEY", "")
    if not key:
        # DeepSpeed's launcher does not pass the key on. So the gateway writes the key to a file
        # beside the settings; only the file's owner can read it.
        with suppress(OSError):
            key = config.with_name(KEY_FILE).read_text().strip()
    # Only the first rank needs the key; other ranks may run on machines without the file.
    if not key and os.environ.get("RANK", "0") == "0":
        raise ConfigError(
            "TTRL_ADMIN_KEY is empty: put the gateway's api.admin_key into the environment"
        )
    return key


def stand_back(niceness: int) -> None:
    """Lowers this process's CPU priority, so that other processes get the cores first.

    Where Linux schedules sessions as groups (autogroup), a process's niceness counts only inside
    its session. The engine's session would get only half of the cores. So this function sets the
    niceness of the trainer's session too, unless a person's shell or script leads it.
    """
    ours = os.nice(niceness)
    group = Path("/proc/self/autogroup")
    if not group.exists() or not owns_session():
        return
    for _ in range(50):
        try:
            now = int((group.read_text().split() or ["0"])[-1])
            group.write_text(str(max(now, ours)))
            return
        except BlockingIOError:  # Linux allows one such change per 0.1 s on the whole machine
            time.sleep(0.1)
        except (OSError, ValueError):
            return


def _settle(cfg: Config) -> None:
    """Sets logging, priority, the parent-death signal and threads, before torch is imported."""
    log.configure(cfg.log.format, cfg.log.level)
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    stand_back(cfg.train.niceness)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if cfg.hardware == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        os.environ.setdefault("OMP_NUM_THREADS", str(cpu_threads(cfg)))


def _end_on_signals() -> None:
    """Starts a thread that waits for the signals. A step runs C++ code for minutes, and no Python
    signal handler runs during that time."""
    wanted = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)

    def wait() -> None:
        signal.sigwait(wanted)
        # An unfinished step needs no saving: the gateway gives its batch to the next trainer.
        os._exit(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
