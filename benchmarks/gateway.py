"""The whole system for one benchmark case: ttrl-serve on the small model with other settings,
and a replay of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from ttrl_client.cli import question_sets
from ttrl_client.folder import run_replay
from ttrl_client.run import Run, Settings

from demo.run import KEY, MAX_TOKENS, MODEL_NAME, clear, ensure_model, server_argv, wait_ready
from demo.server import Server, free_port

PROGRESS = Console(file=sys.stderr)

UNGUARDED: dict[str, object] = {
    "--guard.min-majority": 0,
    "--guard.min-margin": 0,
    "--guard.min-extractable": 0,
    "--guard.max-copies": 1000,
    "--guard.max-flips": 1000,
    "--guard.min-entropy": 0,
    "--guard.max-entropy": 0,
    "--guard.min-length": 0,
    "--guard.max-length": 0,
    "--guard.max-kl": 0,
    "--guard.max-questions": 0,
    "--gate.canary-share": 0,
    "--gate.sentinels": False,
}
"""Flags of a server without guards, so that it trains on what it can."""


@contextmanager
def serving(model: Path, out: Path, flags: Mapping[str, object]) -> Iterator[Settings]:
    """A server from nothing, with the demo's preset and ``flags`` over it; what a replay needs
    to reach it."""
    clear(out)
    out.mkdir(parents=True, exist_ok=True)
    ensure_model(model)
    port = free_port()
    argv = [*server_argv(model, out, port), *(str(part) for flag in flags.items() for part in flag)]
    with Server(argv, out / "server.log", out / "server.pid") as server:
        wait_ready(server, f"http://127.0.0.1:{port}/ready", 600, PROGRESS)
        yield Settings(
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key=KEY,
            model=MODEL_NAME,
            max_tokens=MAX_TOKENS,
            # the paper's 0.95 sorts the vocabulary for every token, at half the speed on a CPU
            top_p=1.0,
        )


def replayed(
    model: Path,
    out: Path,
    flags: Mapping[str, object],
    trained: Path,
    held_out: Sequence[Path],
    **settings: object,
) -> Run:
    """Evaluates, learns and evaluates again."""
    with serving(model, out, flags) as reach:
        how = replace(reach, **settings)  # type: ignore[arg-type]
        return run_replay(how, *question_sets([trained], held_out), out, PROGRESS)
