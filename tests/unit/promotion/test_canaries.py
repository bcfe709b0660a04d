"""The questions a candidate is asked: kept, read from a file, known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ttrl_server.errors import ConfigError
from ttrl_server.promotion.bank import questions
from ttrl_server.promotion.canaries import Sheet, read_labelled
from ttrl_server.promotion.gate import Gate
from ttrl_server.settings.config import Config
from ttrl_server.types import Group, Prompt, Rollout, Sampling, Signals
from ttrl_server.voting import Ballot, signals

SAMPLING = Sampling(0.6, 32)


def group(*prompt: int, length: int = 4) -> Group:
    return Group("q", prompt, (Rollout(0, (1,) * length, (-0.5,) * length, "x", "stop"),), 0, 0.6)


def offer(gate: Gate, n: int, text: str | None = None) -> None:
    gate.offer(group(n), Prompt((n,), 100, wanted=text))


def test_the_gate_keeps_the_newest_held_back_questions_and_what_was_said_to_them() -> None:
    gate = Gate(Config(model="org/tiny", hardware="cpu", gate={"canary_questions": 2}))
    offer(gate, 1)
    (first,) = gate.held_back.values()
    assert first.sampling.max_tokens == 6  # half as long again
    offer(gate, 2)
    offer(gate, 1)  # asked again: young again
    offer(gate, 3)
    kept = list(gate.held_back.values())
    assert [canary.prompt.token_ids for canary in kept] == [(1,), (3,)]
    assert kept[0] is first


def test_a_sheet_holds_sums_and_gives_the_signals_that_the_reply_and_the_store_give() -> None:
    rollouts = (
        Rollout(0, (1, 2), (-1.0, -2.0), "7", "stop"),
        Rollout(1, (1,), (-3.0,), "no idea", "stop"),
    )
    found = Sheet.of(rollouts, ("7", None))
    assert found + found == Sheet(("7", None, "7", None), 6, 12.0)
    ballot = Ballot(None)
    for rollout in rollouts:
        ballot.add(rollout)
    kept = signals.of_group(Group("q", (1,), rollouts, 3, 0.6), ballot.count())
    assert found.signals(3, ("7", None)) == kept
    assert kept == Signals(3, 1, majority=0.5, entropy=2.0, length=1.5, extractable=0.5)


def test_no_question_of_the_bank_is_answered_by_an_echo() -> None:
    found = questions()
    assert [each.text for each in found if each.answer in each.text] == []
    assert len({each.text for each in found}) == len(found)
    assert found == questions()


def test_the_bank_has_many_forms_and_something_for_weak_and_strong_models() -> None:
    forms = Counter(each.form for each in questions())
    assert len(forms) >= 12
    assert max(forms.values()) <= 12
    products = [int(each.answer) for each in questions() if each.form == "product"]
    assert min(products) < 100
    assert max(products) > 10**5


def test_held_back_questions_are_spread_over_forms() -> None:
    gate = Gate(Config(model="org/tiny", hardware="cpu", gate={"canary_questions": 3}))
    offer(gate, 1, "What is the capital of Chile?")
    for n in range(2, 7):
        offer(gate, n, f"What is {n} + {n}?")
    kept = [canary.prompt.token_ids for canary in gate.held_back.values()]
    assert kept == [(1,), (5,), (6,)]


def test_a_labelled_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    chat = '{"messages": [{"role": "user", "content": "x"}], "answer": "y"}'
    path.write_text('{"prompt": "2 + 2?", "answer": 4}\n\n' + chat)
    one, two = read_labelled(path, SAMPLING)
    assert (one.messages[-1]["content"], one.answer) == ("2 + 2?", "4")
    assert (two.messages[-1]["content"], two.answer) == ("x", "y")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, r"labelled\.jsonl cannot be read"),
        ('{"prompt": "2 + 2?"}', "line 1"),
        ('{"prompt": "2 + 2?", "answer": 4}\n{"answer": "5"}', "line 2"),
        ('{"prompt": "x", "answer": " "}', "line 1"),
        ("not json", "line 1"),
        ("\n", "holds no question"),
    ],
)
def test_a_useless_labelled_file_is_named(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "labelled.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_labelled(path, SAMPLING)
