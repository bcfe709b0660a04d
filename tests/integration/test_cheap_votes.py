"""What a vote costs: stop rules, the first wave, a client's time, and a choice where there is
nothing to vote on."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import openai
import pytest

from tests.integration.conftest import Gateway, Start, asking, problem
from tests.integration.fake_vllm import FakeVLLM
from ttrl_server.api import sse

WAVES = {"samples": 64, "wave": 8}
GROUP = {"samples": 32, "min_group": 8}


def sevens(i: int) -> str:
    return "The answer is 7." if i % 16 else "The answer is 9."


def unanimous(i: int) -> str:
    return "The answer is 7."


@pytest.fixture
def waving(start: Start) -> Start:
    """Starts a gateway that draws up to 64 samples in waves of 8."""

    def begin(vote: Any = None, train: Any = None, **engine: Any) -> Gateway:
        fake = FakeVLLM(**{"text": sevens} | engine)
        return start(fake, vote=WAVES | (vote or {}), train=GROUP | (train or {}))

    return begin


def stored(gateway: Gateway) -> dict[str, Any]:
    """The first group as the store holds it: its vote, how many rollouts it keeps, and how many
    of them train."""
    with sqlite3.connect(gateway.config.state_dir / "store.sqlite") as db:
        vote, rewards, state, rollouts = db.execute(
            "SELECT vote, rewards, state, (SELECT count(*) FROM rollouts WHERE experience = seq) "
            "FROM experiences ORDER BY seq LIMIT 1"
        ).fetchone()
    kept = {"rollouts": rollouts, "trains": len(rewards) // 8, "state": state}
    return dict(json.loads(vote)) | kept


def test_exact_is_the_default_and_draws_no_more_than_it_takes(waving: Start) -> None:
    gateway = waving()
    evidence = gateway.evidence()
    assert (evidence["answer"], evidence["stopped"], evidence["level"]) == ("7", "exact", None)
    assert evidence["requested"] == 64
    assert 33 <= evidence["votes"] <= 40
    assert gateway.engine.drawn <= 40
    assert stored(gateway)["trains"] == 32


def test_a_statistical_stop_says_so_to_the_client_and_in_the_store(waving: Start) -> None:
    gateway = waving()
    evidence = gateway.evidence(ttrl={"stop": "certificate", "level": 0.95})
    assert (evidence["stopped"], evidence["level"], evidence["votes"]) == ("certificate", 0.95, 16)
    group = stored(gateway)
    assert (group["stopped"], group["level"]) == ("certificate", 0.95)
    assert (group["requested"], group["rollouts"], group["trains"]) == (64, 16, 16)
    assert group["state"] == "pending"


def test_a_vote_stopped_before_enough_may_train_is_not_trained_on(waving: Start) -> None:
    gateway = waving(train={"min_group": 24})
    assert gateway.evidence(ttrl={"stop": "beta", "level": 0.9})["train"] == "too_few_samples"


def test_a_unanimous_start_may_stop_at_once_and_trains_nothing(waving: Start) -> None:
    gateway = waving(text=unanimous)
    evidence = gateway.evidence(ttrl={"stop": "beta", "level": 0.99})
    assert (evidence["votes"], evidence["train"]) == (8, "unanimous")
    assert gateway.evidence(ttrl={"stop": "none"})["votes"] == 64


def test_a_weighted_vote_cannot_be_stopped_by_counting(start: Start) -> None:
    gateway = start(vote={"weighting": "confidence"})
    assert "weighs" in problem(gateway.ask(ttrl={"stop": "beta"}), "message")[1]


def test_what_a_decided_vote_does_not_need_is_aborted_in_the_engine(waving: Start) -> None:
    gateway = waving(text=unanimous, held=lambda i: i >= 38)
    assert 33 <= gateway.evidence()["votes"] <= 38
    gateway.until(lambda: gateway.engine.running == 0)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Hi there!", "Hello, friend number {}!\nHow are you?"),
        ("Write a poem about the number 7.", "Roses are red.\nViolets are 7.\nSo it goes."),
    ],
)
def test_what_cannot_be_compared_costs_the_first_wave_and_the_reply_says_why(
    waving: Start, question: str, text: str
) -> None:
    gateway = waving(text=text.format)
    reply = gateway.ask(question)
    assert reply.json()["choices"][0]["message"]["content"] == text.format(0)
    evidence = reply.json()["ttrl"]
    assert (evidence["stopped"], evidence["answer"]) == ("unvotable", None)
    assert "nothing was asked that samples could be compared by" in evidence["why"]
    assert evidence["train"] == reply.headers["x-ttrl-train"] == "unvotable"
    assert reply.headers["x-ttrl-unvoted"] == "unvotable"
    assert gateway.engine.drawn == 8


@pytest.mark.parametrize(
    ("policy", "how"),
    [("auto", {"ttrl": {"samples": 64, "stop": "none"}}), ("always", {})],
    ids=["asked for", "always"],
)
def test_votes_that_were_asked_for_are_all_drawn(
    waving: Start, policy: str, how: dict[str, Any]
) -> None:
    gateway = waving(vote={"policy": policy, "stop": "none"}, text=lambda i: "Hello!")
    assert gateway.evidence("Hi there!", **how)["train"] == "no_answer"
    assert gateway.engine.drawn == 64


def test_the_best_of_n_is_the_most_certain_sample(start: Start) -> None:
    fake = FakeVLLM(
        text=lambda i: f"Once upon a time, told by {'abcdefgh'[i]}.",
        surprise=lambda i: 9.0 if i == 5 else 1.0,
    )
    gateway = start(fake, vote={"samples": 8, "policy": "always", "fallback": "best_of_n"})
    reply = gateway.ask("Tell me a story").json()
    assert reply["choices"][0]["message"]["content"].endswith("by f.")
    assert reply["ttrl"]["train"] == "no_answer"


# ---------------------------------------------------------------- time


def test_at_the_clients_deadline_a_quorum_answers(waving: Start) -> None:
    gateway = waving(held=lambda i: i >= 10)
    evidence = gateway.evidence(ttrl={"stop": "none"}, headers={"x-ttrl-timeout": "0.7"})
    assert (evidence["stopped"], evidence["answer"]) == ("deadline", "7")
    assert evidence["train"] == "deadline"
    assert evidence["votes"] <= 10
    gateway.until(lambda: gateway.engine.running == 0)
    assert stored(gateway)["state"] == "kept"


def test_without_a_quorum_the_deadline_is_504_and_the_samples_are_cancelled(waving: Start) -> None:
    gateway = waving(vote={"deadline_s": 0.5}, held=lambda i: i >= 4)
    assert problem(gateway.ask()) == (504, "deadline_exceeded")
    gateway.until(lambda: gateway.engine.running == 0)


def client(gateway: Gateway, timeout: float) -> openai.OpenAI:
    url = f"{gateway.url}/v1"
    return openai.OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=timeout)


def test_the_official_clients_own_timeout_is_heeded(waving: Start) -> None:
    gateway = waving(held=lambda i: i >= 16)
    reply: Any = client(gateway, 2.0).chat.completions.create(**asking())
    assert reply.ttrl["stopped"] == "deadline"


def test_a_stream_is_not_cut_by_the_time_between_two_bytes(waving: Start) -> None:
    gateway = waving(delay_s=0.6)
    chunks = list(client(gateway, 1.2).chat.completions.create(**asking(), stream=True))
    said = (c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "".join(said) == "The answer is 7."


# ---------------------------------------------------------------- progress


def test_while_a_vote_runs_a_stream_shows_how_far_it_is_and_who_leads(
    waving: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.05)
    none, leads = ": 0/64 samples", ": 24/64 samples, leader 0.92"
    shown: set[str] = set()

    def held(i: int) -> bool:
        return none not in shown or (i >= 24 and leads not in shown)

    gateway = waving(vote={"stop": "none"}, held=held)
    body = asking(stream=True)
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        for line in filter(None, reply.iter_lines()):
            shown.add(line)
    assert line == "data: [DONE]"
