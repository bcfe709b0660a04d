"""Labels that are asked after: they may have to win in other words, and to lose the opposite."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import FakeVLLM

WORDING = "Here is a question for you, and I want the bare result and nothing else: {question}"
LONG = 16
"""Words of a prompt in this wording, and of none before."""


@dataclass
class TwoWordings(FakeVLLM):
    """An engine with answers of its own to a question in other words."""

    again: Callable[[int], str] = lambda i: "9"
    fails: bool = False
    turns: Counter[bool] = field(default_factory=Counter)

    def _said(self, body: dict[str, Any], number: int) -> str:
        long = len(body["prompt"]) >= LONG
        number, self.turns[long] = self.turns[long], self.turns[long] + 1
        return self.again(number) if long else super()._said(body, number)

    async def tokenize(self, request: Request) -> Response:
        body = await request.json()
        if self.fails and WORDING[:20] in str(body):
            return JSONResponse({"error": {"message": "no"}}, 500)
        return await super().tokenize(request)

    def asked(self) -> list[Any]:
        """The questions whose prompts were made."""
        bodies = [body for path, body in self.seen if path == "/tokenize"]
        return [body.get("prompt") or body["messages"][-1]["content"] for body in bodies]

    def samples(self) -> int:
        return self.paths().count("/v1/completions")


def reworded(
    start: Start, again: Callable[[int], str], wording: str = WORDING
) -> tuple[Gateway, TwoWordings]:
    engine = TwoWordings(again=again)
    return start(engine, vote={"anchor": 4}, guard={"wording": wording}), engine


@pytest.mark.parametrize(
    ("again", "train"),
    [
        (lambda i: "9", "wording"),
        (lambda i: "7" if i % 2 else "9", "queued"),  # a tie is no other winner
        (lambda i: "7.0", "queued"),
        (lambda i: "I will not say.", "wording"),
    ],
)
def test_what_teaches_wins_in_other_words_too(
    start: Start, again: Callable[[int], str], train: str
) -> None:
    gateway, engine = reworded(start, again)
    said = gateway.evidence()
    assert (said["answer"], said["majority_ratio"], said["train"]) == ("7", 6 / 8, train)
    assert engine.samples() == 8 + 4
    assert WORDING.replace("{question}", "What is 3 + 4?") in engine.asked()


def test_only_what_may_teach_by_its_vote_is_asked_in_other_words(start: Start) -> None:
    gateway, engine = reworded(start, lambda i: "9")
    gateway.ask(ttrl={"train": False})
    gateway.ask("What is 4 + 5?", ttrl={"label": "9"})
    assert engine.samples() == 16
    assert engine.asked() == ["What is 3 + 4?", "What is 4 + 5?"]


def test_text_parts_and_plain_prompts_are_put_in_other_words(start: Start) -> None:
    gateway, engine = reworded(start, lambda i: "9")
    parts = [{"type": "text", "text": "What is 3 + 4?"}]
    messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": parts}]
    assert gateway.evidence(messages=messages)["train"] == "wording"
    plain = {"model": "tiny", "prompt": "What is 5 + 2?"}
    reply = gateway.http.post("/v1/completions", json=plain)
    assert reply.json()["ttrl"]["train"] == "wording"
    inside = [WORDING.replace("{question}", f"What is {sum_}?") for sum_ in ("3 + 4", "5 + 2")]
    assert [each for each in engine.asked() if each in inside] == inside


def test_a_failure_in_other_words_costs_no_answer_but_the_label(start: Start) -> None:
    gateway, engine = reworded(start, lambda i: "7")
    engine.fails = True
    said = gateway.evidence()
    assert (said["answer"], said["train"]) == ("7", "wording")


def test_other_words_that_do_not_fit_cost_no_answer(start: Start) -> None:
    gateway, engine = reworded(start, lambda i: "7", "word " * 200 + "{question}")
    said = gateway.evidence()
    assert (said["answer"], said["train"]) == ("7", "wording")
    assert engine.samples() == 8


def test_the_samples_in_other_words_count_as_running(start: Start) -> None:
    engine = TwoWordings()
    guard = {"wording": WORDING, "opposite": False}
    gateway = start(engine, vote={"anchor": 4}, guard=guard, limits={"samples_in_flight": 16})
    assert gateway.ask(ttrl={"samples": 9}).status_code == 400  # four more of each of the two
    assert gateway.ask(ttrl={"samples": 8}).status_code == 200


# ---------------------------------------------------------------- the opposite question

LARGER, SMALLER = "Which number is larger, 22 or 89?", "Which number is smaller, 22 or 89?"
TURNED = 7777
"""First token of a prompt that asks for the smaller one."""


@dataclass
class Comparing(FakeVLLM):
    """An engine with answers of its own to a question for the smaller one."""

    smaller: Callable[[int], str] = lambda i: "22"
    asked: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """Samples by version, and whether they are for the smaller one."""

    async def tokenize(self, request: Request) -> Response:
        reply = await super().tokenize(request)
        body = json.loads(bytes(reply.body))
        if "smaller" in str(await request.json()):
            body["tokens"][0] = TURNED
        return JSONResponse(body)

    def _said(self, body: dict[str, Any], number: int) -> str:
        turned = body["prompt"][0] == TURNED
        at = body["model"], turned
        number, self.asked[at] = self.asked[at], self.asked[at] + 1
        return self.smaller(number) if turned else super()._said(body, number)


def comparing(
    start: Start, larger: Callable[[int], str], smaller: Callable[[int], str], **guard: Any
) -> tuple[Gateway, Comparing]:
    engine = Comparing(text=larger, smaller=smaller)
    return start(engine, vote={"anchor": 4}, guard={"min_echo": 0.5} | guard), engine


@pytest.mark.parametrize(
    ("smaller", "train"),
    [
        (lambda i: "22" if i else "89", "unread"),
        (lambda i: "22.0", "unread"),
        (lambda i: "89" if i else "22", "queued"),
        (lambda i: "I cannot say", "queued"),
    ],
)
def test_the_smaller_of_two_numbers_is_not_taught_as_the_larger(
    start: Start, smaller: Callable[[int], str], train: str
) -> None:
    """At one order a model came to answer with the smaller of two numbers, always: its base model
    did so in most samples, whichever was asked for."""
    gateway, engine = comparing(start, lambda i: "22" if i else "89", smaller)
    said = gateway.evidence(LARGER)
    assert (said["answer"], said["train"]) == ("22", train)
    assert engine.asked == {("tiny@base", False): 8, ("tiny@base", True): 4}


def test_the_opposite_is_asked_of_the_base_model_once(start: Start) -> None:
    gateway, engine = comparing(start, lambda i: "22" if i else "89", lambda i: "89")
    gateway.ask(LARGER)
    assert gateway.propose(gateway.lease())["state"] == "promoted"
    engine.asked.clear()
    gateway.ask(LARGER)
    assert engine.asked == {("tiny@v1", False): 8}


@pytest.mark.parametrize(
    ("question", "more", "guard"),
    [
        (LARGER, {"ttrl": {"label": "22"}}, {}),
        (LARGER, {"ttrl": {"train": False}}, {}),
        (LARGER, {}, {"opposite": False}),
        ("What is 22 + 89?", {}, {}),
    ],
)
def test_only_what_may_teach_by_a_comparison_has_its_opposite_asked(
    start: Start, question: str, more: dict[str, Any], guard: dict[str, Any]
) -> None:
    gateway, engine = comparing(start, lambda i: "22" if i else "89", lambda i: "22", **guard)
    assert gateway.evidence(question, **more)["train"] != "unread"
    assert set(engine.asked) == {("tiny@base", False)}


def test_a_winner_that_does_not_stand_in_its_question_may_win_the_opposite_too(
    start: Start,
) -> None:
    gateway, _ = comparing(start, lambda i: "67" if i else "89", lambda i: "67")
    difference = "How much larger is 89 than 22?"
    assert gateway.evidence(difference)["train"] == "queued"
