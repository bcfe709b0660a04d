"""The hand-written engine as a process of its own on a Unix socket.

    python -m tests.integration.engine_process SOCKET [MARK]

With MARK, a file that is not there yet, this life answers everything and hangs in every load; the
next one does not.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import uvicorn

from tests.integration.fake_vllm import FakeVLLM


def main(socket: str, mark: str = "") -> None:
    engine = FakeVLLM()
    if mark and not Path(mark).exists():
        Path(mark).touch()
        engine.load_s = math.inf
    uvicorn.run(engine.app(), uds=socket, log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
