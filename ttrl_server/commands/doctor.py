"""``python -m ttrl_server.commands.doctor [--mend]``: checks that all installed packages import.

vLLM requires torchvision, torchaudio and torchcodec, but text serving never uses them. If they are
built for another torch, they do not import, and vLLM fails at its start. ``--mend`` removes them
then.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

NEEDED = ("torch", "vllm", "transformers", "peft", "deepspeed", "openai", "starlette", "sqlalchemy")
UNUSED = ("torchvision", "torchaudio", "torchcodec")


def main() -> int:
    """Console entry: 0 when all required packages import, else 1."""
    parser = argparse.ArgumentParser(description="Checks that everything installed imports.")
    about = f"remove {', '.join(UNUSED)} where they do not import"
    parser.add_argument("--mend", action="store_true", help=about)
    mend = parser.parse_args().mend
    broken = [name for name in UNUSED if _installed(name) and _failure(name)]
    names = ", ".join(broken)
    if broken and mend:
        print(f"removing {names}: built for another torch, not needed for text")
        pip = [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes"]
        subprocess.run([*pip, *broken], check=True)
    elif broken:
        print(f"{names} do not import, vLLM will not start: run with --mend, or uninstall them")
    failures = {name: failure for name in NEEDED if (failure := _failure(name))}
    for name, failure in failures.items():
        print(f"{name} does not import: {failure}")
    if not failures:
        print("imports:", ", ".join(f"{name} {_installed(name)}".strip() for name in NEEDED))
    return 1 if failures or (broken and not mend) else 0


def _installed(module: str) -> str:
    """The version; empty when there is none. vLLM's CPU build is a distribution of its own."""
    for distribution in (f"{module}-cpu", module):
        with contextlib.suppress(PackageNotFoundError):
            return version(distribution)
    return ""


def _failure(module: str) -> str | None:
    """The last line of the traceback, or None. A new process: native libraries may crash it."""
    command = [sys.executable, "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return [f"exit {done.returncode}", *done.stderr.strip().splitlines()][-1]


if __name__ == "__main__":
    sys.exit(main())
