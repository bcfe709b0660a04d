"""Counts what a question, an adapter and an operator's rollback pass in the gateway.

    python .ci/walks.py [--show question|adapter|operator]

The real gateway before the hand-written engine of tests/integration. Counted are the functions of
``ttrl_server`` that are entered (each once), and the modules they are in; how texts are read
(``answers``) is left out. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "clients")]

import structlog  # noqa: E402

from tests.integration.conftest import Gateway, small  # noqa: E402
from tests.integration.fake_vllm import FakeVLLM, Serving  # noqa: E402


class Walk:
    """Notes every function of the server that any thread enters, while it is open."""

    stays: dict[tuple[str, str], None]
    _open = False

    def __init__(self) -> None:
        threading.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if not self._open or event != "call" or "/ttrl_server/" not in path:
            return
        module = path.rpartition("/ttrl_server/")[2]
        name = frame.f_code.co_qualname
        if not module.startswith("answers/") and "<" not in name.rpartition(".")[2]:
            self.stays.setdefault((module, name))

    def along(self, way: Callable[[], Any]) -> list[tuple[str, str]]:
        """What is entered during ``way``, in the order it is entered first."""
        self.stays, self._open = {}, True
        way()
        self._open = False
        return list(self.stays)


def walks(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """The three ways, each through a gateway that has gone it once before."""
    from ttrl_server.settings.config import Config

    walk, fake = Walk(), FakeVLLM()
    serving = Serving(fake.app())
    sections = {"gate": {"canary_share": 0}, "engine": {"url": serving.url}}
    gateway = Gateway(Config(**(small(folder) | sections)), fake)

    def propose() -> None:
        gateway.ask()
        batch = gateway.lease()
        body = {"batch": batch.id, "folder": gateway.publish(batch)}
        proposals.append(body)

    proposals: list[dict[str, Any]] = []
    gateway.ask()
    propose()
    assert gateway.admin("train/propose", proposals[-1]).json()["state"] == "promoted"
    found = {"question": walk.along(gateway.ask)}
    propose()
    found["adapter"] = walk.along(lambda: gateway.admin("train/propose", proposals[-1]))
    found["operator"] = walk.along(lambda: gateway.admin("adapters/rollback", {"to": 1}))
    assert gateway.status()["served"]["number"] == 1
    gateway.stop()
    serving.stop()
    return found


def main() -> None:
    """Prints the three ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", choices=("question", "adapter", "operator"))
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        found = walks(Path(folder))
    for module, name in found.get(options.show or "", []):
        print(f"{module:<36} {name}")
    figures = {}
    for way, stays in found.items():
        figures[way] = {"functions": len(stays), "modules": len({module for module, _ in stays})}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
