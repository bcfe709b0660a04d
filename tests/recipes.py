"""The commands of docs/recipes.md, run as they stand there but for the server's address, key and
model name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "recipes.md"
SETUP = "once"
ADDRESS, KEY, MODEL = "http://127.0.0.1:8000", "=unused", "Qwen3-8B"
"""What stands in the document for them."""


def blocks() -> dict[str, str]:
    """Every block of shell, by the name in its first line."""
    return dict(
        re.findall(
            r"^```bash\n# ([^\n]*)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
        )
    )


def run(
    name: str, folder: Path, changes: Mapping[str, str], more: str = "", path: Path | None = None
) -> str:
    """What the block prints in ``folder``, with ``changes`` made and ``more`` at its end. No hub is
    within its reach.

    Its commands are those of this Python, and before them those in ``path``. Raises AssertionError
    when one fails.
    """
    scripts = blocks()
    script = f"set -eu\n{scripts[SETUP]}{scripts[name].rstrip()} {more}\n"
    for documented, here in changes.items():
        assert documented in script
        script = script.replace(documented, here)
    folder.mkdir(exist_ok=True)
    if not (folder / "clients").exists():
        (folder / "clients").symlink_to(ROOT / "clients")
    places = [*([path] if path else []), Path(sys.executable).parent, os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(map(str, places)),
        "PYTHONPATH": str(ROOT / "clients"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "INSPECT_DISPLAY": "plain",
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def score(printed: str) -> float:
    """The accuracy a harness prints; the last one, where it shows how it gets there."""
    found = re.findall(
        r"^(?:\|answers\|.*\|acc *\|↑ *\||accuracy) *([\d.]+)", printed, re.MULTILINE
    )
    assert found, printed
    return float(found[-1])
