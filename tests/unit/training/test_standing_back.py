"""How the trainer leaves the cores to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel schedules no sessions as groups"
)
def test_the_whole_session_stands_back_and_not_the_process_alone() -> None:
    code = (
        "import os; from pathlib import Path; from ttrl_server.training.worker import stand_back; "
        "stand_back(7); print(os.nice(0), Path('/proc/self/autogroup').read_text())"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, start_new_session=True)
    niceness, group = said.split(maxsplit=1)
    assert int(niceness) == min(19, os.nice(0) + 7)
    assert group.split()[-2:] == ["nice", niceness]
