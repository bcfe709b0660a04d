"""The cases in ``data``; its README says what each file holds."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "data"


def cases(name: str, folder: Path = HERE) -> list[dict[str, Any]]:
    """The lines of ``<name>.jsonl``."""
    text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def questions(name: str) -> list[str]:
    """The lines of ``<name>.txt``."""
    return (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def each(name: str, *fields: str) -> pytest.MarkDecorator:
    """Runs a test on these fields of every case; a case without one of them is an error."""
    row = itemgetter(*fields)
    return pytest.mark.parametrize(", ".join(fields), [row(case) for case in cases(name)])
