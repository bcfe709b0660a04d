"""Every reason has words, and advice rests on what was decided lately."""

from __future__ import annotations

import re
from pathlib import Path

from ttrl_server.learning.reasons import SEEN, UNVOTED, WORDS, Recent, unvoted_class

SERVER = Path(__file__).parents[3] / "ttrl_server"


def test_every_reason_that_the_code_gives_has_words() -> None:
    reason = r"(?:return|reason =|Admission\(False,|GROUPS\.labels\(|else) ?\"([a-z_ ]+)\""
    files = [SERVER / "learning" / f"{n}.py" for n in ("admission", "history", "feedback")]
    files.append(SERVER / "answering" / "pipeline.py")
    given = {found for path in files for found in re.findall(reason, path.read_text())}
    assert {"unanimous", "no_consensus", "duplicate", "held_back", "off", "unvotable"} <= given
    assert given - WORDS.keys() <= {"error", "prompt"}  # of a question, and of a parameter


def test_a_clients_own_field_makes_no_new_series() -> None:
    assert unvoted_class("tools") == "tools"
    assert unvoted_class("my_own_field_17") == "field"
    assert all(words for words in UNVOTED.values())


def test_advice_speaks_where_most_of_the_newest_groups_share_a_fate() -> None:
    recent = Recent()
    for _ in range(SEEN):
        recent.note("queued")
    assert recent.advice() is None
    for _ in range(SEEN - 4):
        recent.note("unanimous")
    assert recent.advice() == f"16 of 20 groups unanimous: {WORDS['unanimous']}"
    for _ in range(5):
        recent.note("queued")
    assert recent.advice() is None
