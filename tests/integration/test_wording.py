"""A label that has to win the question in other words too (guard.wording)."""

from __future__ import annotations

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
    guard = {"wording": WORDING}
    gateway = start(engine, vote={"anchor": 4}, guard=guard, limits={"samples_in_flight": 16})
    assert gateway.ask(ttrl={"samples": 13}).status_code == 429
    assert gateway.ask(ttrl={"samples": 12}).status_code == 200
