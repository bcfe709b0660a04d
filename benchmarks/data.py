"""Where real data lies that is not ours to ship: a folder of its user's (TTRL_TEST_DATA)."""

from __future__ import annotations

import os
from pathlib import Path

_HERE = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA = Path(os.environ.get("TTRL_TEST_DATA", _HERE))
"""Tests and measurements that need it say so and are left out where it is not there."""
CASES = DATA.parent / "cases"
