"""The confidence beside the share of the votes, anchored in what the base model answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import FakeVLLM

BASE, ANCHORED = "tiny@base", {"anchor": 4, "stop": "none"}
QUESTION = "What is now 11 + 30?"


@dataclass
class BaseFails(FakeVLLM):
    """An engine that fails, or hangs, when its base model is to sample."""

    trouble: str = ""

    async def completions(self, request: Request) -> Response:
        body = json.loads(await request.body())
        if self.trouble and body["model"] == BASE and "prompt_logprobs" not in body:
            await asyncio.sleep(5 if self.trouble == "hangs" else 0)
            return JSONResponse({"error": {"message": "no"}}, 500)
        return await super().completions(request)


def drawn(gateway: Gateway) -> Counter[str]:
    """Samples that were drawn, by version, since the last call."""
    bodies = [body for path, body in gateway.engine.seen if path == "/v1/completions"]
    gateway.engine.seen.clear()
    return Counter(body["model"] for body in bodies if "prompt_logprobs" not in body)


def learned(start: Start, engine: FakeVLLM | None = None, **vote: object) -> Gateway:
    """A gateway that serves its first version, which always says 41."""
    engine = engine or FakeVLLM()
    engine.of_version = {"tiny@v1": lambda i: "41"}
    gateway = start(engine, vote=ANCHORED | vote)
    gateway.promote("What is 1 + 1?")
    engine.text = lambda i: ["41", "9", "8", "6"][i % 4]
    drawn(gateway)
    return gateway


def test_a_unanimous_adapter_is_no_surer_than_the_base_model_lets_it_be(start: Start) -> None:
    gateway = learned(start)
    new = gateway.evidence(QUESTION)
    assert (new["majority_ratio"], new["base_ratio"], new["drawn"]) == (1, 1 / 4, 8)
    assert drawn(gateway) == {"tiny@v1": 8, BASE: 4}
    gateway.engine.text = lambda i: "41"
    sure = gateway.evidence("And then, what is 1 + 40?")
    assert (sure["majority_ratio"], sure["base_ratio"]) == (1, 1)
    assert 0 < new["confidence"] < sure["confidence"] < 1


def test_the_base_model_is_asked_once_for_each_question(start: Start) -> None:
    gateway = learned(start)
    first, again = gateway.evidence(QUESTION), gateway.evidence(QUESTION)
    assert drawn(gateway) == {"tiny@v1": 16, BASE: 4}
    assert again["base_ratio"] == first["base_ratio"]
    gateway.ask(QUESTION, temperature=0.9)  # another distribution
    assert drawn(gateway)[BASE] == 4


def test_what_the_base_model_was_asked_before_it_learned_is_not_asked_again(start: Start) -> None:
    gateway = learned(start)
    before = gateway.ask(QUESTION, model=BASE).json()["ttrl"]
    assert before["base_ratio"] == before["majority_ratio"] == 2 / 8
    assert drawn(gateway) == {BASE: 8}
    after = gateway.evidence(QUESTION)
    assert drawn(gateway) == {"tiny@v1": 8}
    assert (after["majority_ratio"], after["base_ratio"]) == (1, 2 / 8)


def test_few_votes_have_half_as_many_samples_of_the_base_model(start: Start) -> None:
    gateway = learned(start)
    few = gateway.evidence("What is 2 + 38 + 1?", ttrl={"samples": 2})
    one = gateway.evidence("What is 3 + 36 + 1 + 1?", ttrl={"samples": 1})
    assert drawn(gateway) == {"tiny@v1": 3, BASE: 1}
    assert few["confidence"]
    assert one["confidence"] is None


def test_without_an_anchor_there_is_no_confidence(start: Start) -> None:
    gateway = learned(start, anchor=0)
    said = gateway.evidence(QUESTION)
    assert (said["confidence"], said["base_ratio"], said["answer"]) == (None, None, "41")
    assert drawn(gateway) == {"tiny@v1": 8}


@pytest.mark.parametrize(("trouble", "deadline_s"), [("fails", 20), ("hangs", 1)])
def test_a_base_model_that_does_not_answer_costs_no_answer(
    start: Start, trouble: str, deadline_s: float
) -> None:
    engine = BaseFails()
    gateway = learned(start, engine, deadline_s=deadline_s)
    engine.trouble = trouble
    reply = gateway.ask(QUESTION)
    assert reply.status_code == 200
    assert (reply.json()["ttrl"]["answer"], reply.json()["ttrl"]["confidence"]) == ("41", None)
    gateway.until(lambda: engine.running == 0)
    assert gateway.status()["served"]["name"] == "tiny@v1"


def test_the_store_keeps_the_confidence(start: Start) -> None:
    gateway = learned(start)
    gateway.engine.of_version["tiny@v1"] = lambda i: "41" if i % 4 else "9"
    said = gateway.evidence(QUESTION)
    batch = gateway.lease()
    votes = [experience.vote for experience in batch.experiences]
    assert [vote.confidence for vote in votes] == [said["confidence"]]
    assert votes[0].base_ratio == said["base_ratio"]


def test_what_the_base_model_hardly_says_is_not_taught(start: Start) -> None:
    """A version came to answer "84 or 37?" with 8: fourteen of sixteen votes."""
    gateway = learned(start)
    gateway.engine.of_version["tiny@v1"] = lambda i: "8" if i % 4 else "9"
    gateway.engine.text = lambda i: ["84", "37", "84", "8"][i % 4]
    assert gateway.evidence(QUESTION)["train"] == "queued"  # 84 itself has no more than half
    gateway.engine.text = lambda i: ["84", "84", "84", "8"][i % 4]
    assert gateway.evidence("And what is now 11 + 30?")["train"] == "unsupported"


def test_a_label_that_neither_the_votes_nor_the_base_model_say_often_is_not_taught(
    start: Start,
) -> None:
    """A difference was won by "1" with three votes of sixteen; soon all differences were 1."""
    gateway = learned(start, anchor=8, samples=16)
    guesses = cycle("01234567")
    gateway.engine.text = lambda i: next(guesses)
    few = cycle(["1", "1", "1", "1", "1", *"23456789", "10", "11", "12"])
    gateway.engine.of_version["tiny@v1"] = lambda i: next(few)
    said = gateway.evidence("So, what is 30 minus 26?")
    assert (said["answer"], said["majority_ratio"], said["base_ratio"]) == ("1", 5 / 16, 1 / 8)
    assert (said["train"], said["confidence"] < 0.3) == ("unsure", True)


def mostly(number: int, i: int) -> str:
    return str(number) if i % 4 else "17"


def test_where_the_base_model_guesses_at_a_form_its_labels_are_not_taught(start: Start) -> None:
    """Differences of a small model: eight base samples, eight answers, and one of them wins."""
    gateway = learned(start, anchor=8, samples=16)
    guesses = cycle("01234567")
    gateway.engine.text = lambda i: next(guesses)
    kept = []
    for number in range(8):
        gateway.engine.of_version["tiny@v1"] = partial(mostly, number)
        kept.append(gateway.evidence(f"So, what is 2{number} minus 19?")["train"])
    assert kept == ["queued"] * 6 + ["guessed"] * 2
    gateway.engine.of_version["tiny@v1"] = lambda i: "7" if i % 4 else "17"
    assert gateway.evidence("And in another form, 3 + 4?")["train"] == "queued"
