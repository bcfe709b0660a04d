"""ttrl-serve on the small model with other settings, from nothing, and a replay of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from ttrl_client.cli import question_sets
from ttrl_client.folder import run_replay
from ttrl_client.run import Run, Settings

from demo.run import KEY, MODEL_NAME, clear, ensure_model, server_argv, wait_ready
from demo.server import Server, free_port

PROGRESS = Console(file=sys.stderr)
MAX_TOKENS = 24
Flags = Mapping[str, object]

UNGUARDED: dict[str, object] = {
    "--guard.min-majority": 0,
    "--guard.min-margin": 0,
    "--guard.min-echo": 0,
    "--guard.min-support": 0,
    "--guard.attractors": False,
    "--guard.min-extractable": 0,
    "--guard.max-copies": 1000,
    "--guard.min-entropy": 0,
    "--guard.max-entropy": 0,
    "--guard.min-length": 0,
    "--guard.max-length": 0,
    "--guard.max-kl": 0,
    "--guard.max-questions": 0,
    "--gate.canary-share": 0,
    "--gate.witnesses": 0,
    "--gate.sentinels": False,
}
"""Flags of a server without guards, so that it trains on what it can."""


@contextmanager
def serving(model: Path, out: Path, flags: Flags, port: int) -> Iterator[str]:
    """The URL of a server with the demo's preset and ``flags`` over it."""
    argv = [*server_argv(model, out, port), *(str(part) for flag in flags.items() for part in flag)]
    url = f"http://127.0.0.1:{port}"
    with Server(argv, out / "server.log", out / "server.pid") as server:
        wait_ready(server, f"{url}/ready", 600, PROGRESS)
        yield url


def prepare(model: Path, out: Path) -> None:
    """The model, and an empty folder for a server from nothing."""
    clear(out)
    out.mkdir(parents=True, exist_ok=True)
    ensure_model(model)


def replayed(
    model: Path, out: Path, flags: Flags, trained: Path, held_out: Sequence[Path], **settings: Any
) -> Run:
    """A server from nothing: evaluates, learns and evaluates again."""
    prepare(model, out)
    with serving(model, out, flags, free_port()) as url:
        # The paper's top_p, 0.95, sorts the vocabulary for every token: half the speed on a CPU.
        how = {"max_tokens": MAX_TOKENS, "top_p": 1.0} | settings
        asking = Settings(f"{url}/v1", KEY, MODEL_NAME, **how)
        return run_replay(asking, *question_sets([trained], held_out), out, PROGRESS)
