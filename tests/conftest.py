"""Of every test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no finding
settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "vllm", "transformers", "deepspeed", "peft"}
"""Libraries that no command may import before it needs them."""


def python(
    *argv: object, given: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a new Python that finds this checkout, with ``given`` on its standard input."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients")])}
    command = [sys.executable, *map(str, argv)]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=120, env=env, cwd=cwd
    )
