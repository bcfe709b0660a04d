"""What a vote costs: stop rules, the first wave, a client's time, and a choice where there is
nothing to vote on."""

from __future__ import annotations

import json
from collections.abc import Callable

import openai
import pytest

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import FakeVLLM

WAVES = {"samples": 64, "wave": 8}
GROUP = {"samples": 32, "min_group": 8}


def sevens(i: int) -> str:
    return "The answer is 7." if i % 16 else "The answer is 9."


def stored(gateway: Gateway, index: int = 0) -> dict[str, object]:
    """A group as the store holds it: its vote, how many rollouts it keeps, and how many of them
    train."""
    import sqlite3

    with sqlite3.connect(gateway.config.state_dir / "store.sqlite") as db:
        seq, vote, rewards, state, reason = db.execute(
            "SELECT seq, vote, rewards, state, reason FROM experiences ORDER BY seq LIMIT 1 "
            "OFFSET ?",
            (index,),
        ).fetchone()
        rollouts = db.execute(
            "SELECT count(*) FROM rollouts WHERE experience = ?", (seq,)
        ).fetchone()[0]
    return dict(json.loads(vote)) | {
        "rollouts": rollouts,
        "trains": len(rewards) // 8,
        "state": state,
        "reason": reason,
    }


def test_exact_is_the_default_and_draws_no_more_than_it_takes(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(text=sevens), vote=WAVES, train=GROUP)
    evidence = gateway.ask().json()["ttrl"]
    assert (evidence["answer"], evidence["stopped"], evidence["level"]) == ("7", "exact", None)
    assert evidence["requested"] == 64
    assert 33 <= evidence["votes"] <= 40
    assert gateway.engine.drawn <= 40
    assert stored(gateway)["trains"] == 32


def test_a_statistical_stop_says_so_to_the_client_and_in_the_store(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(text=sevens), vote=WAVES, train=GROUP)
    evidence = gateway.ask(ttrl={"stop": "certificate", "level": 0.95}).json()["ttrl"]
    assert (evidence["stopped"], evidence["level"], evidence["votes"]) == ("certificate", 0.95, 16)
    group = stored(gateway)
    assert (group["stopped"], group["level"], group["requested"], group["rollouts"]) == (
        "certificate",
        0.95,
        64,
        16,
    )
    assert (group["trains"], group["state"]) == (16, "pending")


def test_a_vote_stopped_before_enough_may_train_is_not_trained_on(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(text=sevens), vote=WAVES, train={"samples": 32, "min_group": 24})
    assert (
        gateway.ask(ttrl={"stop": "beta", "level": 0.9}).json()["ttrl"]["train"]
        == "too_few_samples"
    )


def test_a_unanimous_start_may_stop_at_once_and_trains_nothing(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(), vote=WAVES, train=GROUP)
    evidence = gateway.ask(ttrl={"stop": "beta", "level": 0.99}).json()["ttrl"]
    assert (evidence["votes"], evidence["train"]) == (8, "unanimous")


def test_each_request_may_ask_for_its_own_rule(start: Callable[..., Gateway]) -> None:
    gateway = start(FakeVLLM(), vote=WAVES, train=GROUP)
    assert gateway.ask(ttrl={"stop": "none"}).json()["ttrl"]["votes"] == 64
    for wrong in ({"stop": "soon"}, {"level": 1}, {"level": 0.2}, {"level": "high"}):
        error = gateway.ask(ttrl=wrong).json()["error"]
        assert error["param"] == f"ttrl.{next(iter(wrong))}"


def test_a_weighted_vote_cannot_be_stopped_by_counting(start: Callable[..., Gateway]) -> None:
    gateway = start(vote={"weighting": "confidence"})
    assert "weighs" in gateway.ask(ttrl={"stop": "beta"}).json()["error"]["message"]


def test_what_a_decided_vote_does_not_need_is_aborted_in_the_engine(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(slow=lambda i: 30.0 if i >= 38 else 0.0), vote=WAVES, train=GROUP)
    assert 33 <= gateway.ask().json()["ttrl"]["votes"] <= 38
    gateway.until(lambda: gateway.engine.running == 0)


def test_chit_chat_costs_the_first_wave_and_no_more(start: Callable[..., Gateway]) -> None:
    gateway = start(
        FakeVLLM(text=lambda i: f"Hello, friend number {i}!\nHow are you?"), vote=WAVES, train=GROUP
    )
    reply = gateway.ask("Hi there!").json()
    assert reply["choices"][0]["message"]["content"].startswith("Hello, friend number 0")
    assert (reply["ttrl"]["stopped"], reply["ttrl"]["answer"], reply["ttrl"]["train"]) == (
        "unvotable",
        None,
        "unvotable",
    )
    assert gateway.engine.drawn == 8


@pytest.mark.parametrize(
    "how", [{"ttrl": {"samples": 64, "stop": "none"}}, {}], ids=["asked for", "always"]
)
def test_votes_that_were_asked_for_are_all_drawn(
    start: Callable[..., Gateway], how: dict[str, object]
) -> None:
    policy = "auto" if how else "always"
    gateway = start(
        FakeVLLM(text=lambda i: "Hello!"),
        vote=WAVES | {"policy": policy, "stop": "none"},
        train=GROUP,
    )
    assert gateway.ask("Hi there!", **how).json()["ttrl"]["train"] == "no_answer"
    assert gateway.engine.drawn == 64


def test_the_best_of_n_is_the_most_certain_sample(start: Callable[..., Gateway]) -> None:
    fake = FakeVLLM(
        text=lambda i: f"Once upon a time, told by {'abcdefgh'[i]}.",
        surprise=lambda i: 9.0 if i == 5 else 1.0,
    )
    gateway = start(fake, vote={"samples": 8, "policy": "always", "fallback": "best_of_n"})
    reply = gateway.ask("Tell me a story").json()
    assert reply["choices"][0]["message"]["content"].endswith("by f.")
    assert reply["ttrl"]["train"] == "no_answer"


# ---------------------------------------------------------------- time


def test_at_the_clients_deadline_a_quorum_answers(start: Callable[..., Gateway]) -> None:
    gateway = start(
        FakeVLLM(text=sevens, slow=lambda i: 30.0 if i >= 10 else 0.0), vote=WAVES, train=GROUP
    )
    reply = gateway.http.post(
        "/v1/chat/completions",
        json={
            "model": "tiny",
            "messages": [{"role": "user", "content": "3 + 4?"}],
            "ttrl": {"stop": "none"},
        },
        headers={"x-ttrl-timeout": "0.7"},
    ).json()
    assert (reply["ttrl"]["stopped"], reply["ttrl"]["answer"], reply["ttrl"]["train"]) == (
        "deadline",
        "7",
        "deadline",
    )
    assert reply["ttrl"]["votes"] <= 10
    gateway.until(lambda: gateway.engine.running == 0)
    assert stored(gateway)["state"] == "kept"


def test_without_a_quorum_the_deadline_is_504(start: Callable[..., Gateway]) -> None:
    gateway = start(
        FakeVLLM(slow=lambda i: 30.0 if i >= 4 else 0.0),
        vote=WAVES | {"deadline_s": 0.5},
        train=GROUP,
    )
    reply = gateway.ask()
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_the_official_clients_own_timeout_is_heeded(start: Callable[..., Gateway]) -> None:
    gateway = start(
        FakeVLLM(text=sevens, slow=lambda i: 30.0 if i >= 16 else 0.0), vote=WAVES, train=GROUP
    )
    client = openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=2.0
    )
    reply = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "3 + 4?"}]
    )
    assert reply.ttrl["stopped"] == "deadline"  # type: ignore[attr-defined]


def test_a_stream_is_not_cut_by_the_time_between_two_bytes(start: Callable[..., Gateway]) -> None:
    gateway = start(FakeVLLM(text=sevens, delay_s=0.6), vote=WAVES, train=GROUP)
    client = openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=1.2
    )
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "?"}], stream=True
        )
    )
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "The answer is 7."
    )


@pytest.mark.parametrize("seconds", ["soon", "-1", "0", "nan", ""])
def test_a_limit_that_is_no_time_is_refused(gateway: Gateway, seconds: str) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "3 + 4?"}]}
    reply = gateway.http.post(
        "/v1/chat/completions", json=body, headers={"x-ttrl-timeout": seconds}
    )
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "x-ttrl-timeout")


# ---------------------------------------------------------------- progress


def test_a_stream_shows_how_far_the_vote_is_and_who_leads(start: Callable[..., Gateway]) -> None:
    fake = FakeVLLM(text=sevens, slow=lambda i: 2.2 if i >= 24 else 0.0)
    gateway = start(fake, vote=WAVES | {"stop": "none"}, train=GROUP)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "3 + 4?"}], "stream": True}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        comments = [line for line in reply.iter_lines() if line.startswith(":")]
    assert ": 24/64 samples, leader 0.92" in comments
