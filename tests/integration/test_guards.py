"""Guards, rewards and alarms through the front door, with the trainer played by the test."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.integration.conftest import Gateway, ones
from tests.integration.fake_vllm import FakeVLLM
from tests.integration.test_learning_loop import engine, lease, publish
from ttrl_server.types import Batch

Start = Callable[..., Gateway]
HELD_BACK = {"gate": {"canary_share": 0.5, "canary_least": 1, "canary_samples": 8, "canary_z": 2}}


def step(gateway: Gateway, **figures: float) -> dict[str, Any]:
    """One batch leased and its version proposed; the gate's judgement."""
    batch = lease(gateway)
    proposal = {"batch": batch.id, "folder": publish(gateway, batch.number), "metrics": figures}
    return dict(gateway.admin("train/propose", proposal).json())


def feedback(gateway: Gateway, answer: str, **given: Any) -> Any:
    return gateway.http.post("/v1/feedback", json={"id": answer, **given})


def saying(answer: str, index: int) -> str:
    """Three of four samples say it."""
    return answer if index % 4 else "9"


def waiting(gateway: Gateway) -> Batch | None:
    reply = gateway.admin("train/lease", {"worker": "test"})
    return msgspec.msgpack.decode(reply.content, type=Batch) if reply.status_code == 200 else None


# ---------------------------------------------------------------- rewards


@pytest.mark.parametrize(
    ("given", "rewards"),
    [
        ({"score": 1}, (0, 1, 1, 1)),
        ({"score": -1}, (0, -1, -1, -1)),
        ({"label": "9.0"}, (1, 0, 0, 0)),
    ],
)
def test_feedback_replaces_the_votes_rewards(
    start: Start, given: dict[str, Any], rewards: tuple[int, ...]
) -> None:
    gateway = start(engine())
    answer = gateway.ask().json()["id"]
    reply = feedback(gateway, answer, **given)
    assert reply.json() == {"id": answer, "object": "feedback", "train": "queued"}
    (experience,) = lease(gateway).experiences
    assert experience.rewards == rewards
    assert feedback(gateway, answer, **given).status_code == 409


def test_feedback_makes_something_of_a_group_the_vote_could_not_use(start: Start) -> None:
    gateway = start(engine(), guard={"min_majority": 1.0})
    answer = gateway.ask().json()
    assert answer["ttrl"]["train"] == "no_consensus"
    assert feedback(gateway, answer["id"], label="7").json()["train"] == "queued"
    assert lease(gateway).experiences[0].rewards == (0, 1, 1, 1)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"id": "chatcmpl-none", "score": 1}, 404, "id"),
        ({"score": 1}, 400, "id"),
        ({"id": 3, "score": 1}, 400, "id"),
        ({"id": "x"}, 400, "score"),
        ({"id": "x", "score": 0}, 400, "score"),
        ({"id": "x", "score": 2}, 400, "score"),
        ({"id": "x", "score": 1, "label": "7"}, 400, "score"),
        ({"id": "x", "label": ""}, 400, "label"),
        ({"id": "x", "label": "7" * 2001}, 400, "label"),
    ],
)
def test_bad_feedback_is_refused_with_the_offending_name(
    gateway: Gateway, body: dict[str, Any], status: int, param: str
) -> None:
    reply = gateway.http.post("/v1/feedback", json=body)
    assert reply.status_code == status
    assert reply.json()["error"]["param"] == param


def test_a_held_back_question_is_not_trained_on_for_a_verdict_either(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "7"), gate={"canary_share": 0.999})
    answer = gateway.ask().json()
    assert answer["ttrl"]["train"] == "unanimous"
    assert feedback(gateway, answer["id"], label="9").json()["train"] == "held_back"
    assert waiting(gateway) is None


def test_a_server_may_take_no_labels(start: Start) -> None:
    gateway = start(engine(), train={"feedback": False})
    refused = gateway.ask(ttrl={"label": "9"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ttrl.label")
    assert feedback(gateway, gateway.ask().json()["id"], score=1).status_code == 409


def test_nobody_judges_the_answers_of_another_key(start: Start) -> None:
    gateway = start(engine(), api={"admin_key": "admin-key", "keys": ["one", "two"]})
    mine, theirs = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    body = {"model": "tiny", "messages": [{"role": "user", "content": "3 + 4?"}]}
    answer = gateway.http.post("/v1/chat/completions", json=body, headers=mine).json()["id"]
    given = {"id": answer, "score": 1}
    assert gateway.http.post("/v1/feedback", json=given, headers=theirs).status_code == 404
    assert gateway.http.post("/v1/feedback", json=given, headers=mine).status_code == 200


def test_a_given_label_is_learned_from_instead_of_the_vote(start: Start) -> None:
    gateway = start(engine())
    assert gateway.ask(ttrl={"label": "9"}).json()["ttrl"]["train"] == "queued"
    assert lease(gateway).experiences[0].rewards == (1, 0, 0, 0)


def test_a_signed_reward_punishes_rare_answers(start: Start) -> None:
    fake = FakeVLLM(text=lambda i: "9" if i == 0 else "7")
    gateway = start(fake, train={"reward": "signed"}, vote={"samples": 8, "stop": "none"})
    gateway.ask()
    assert lease(gateway).experiences[0].rewards == (-1, 1, 1, 1)


# ---------------------------------------------------------------- questions


def test_one_question_waits_once(start: Start) -> None:
    gateway = start(engine(), guard={"max_copies": 1})
    trained = [gateway.ask().json()["ttrl"]["train"] for _ in range(2)]
    assert trained == ["queued", "duplicate"]
    lease(gateway)
    assert gateway.ask().json()["ttrl"]["train"] == "queued"


def test_a_question_whose_majority_keeps_changing_is_frozen(start: Start) -> None:
    fake = engine()
    for number in range(1, 4):
        fake.of_version[f"tiny@v{number}"] = functools.partial(saying, str(number))
    gateway = start(fake)
    found = []
    for _ in range(3):
        found.append(gateway.ask().json()["ttrl"]["train"])
        step(gateway) if found[-1] == "queued" else None
    assert found == ["queued", "queued", "frozen"]
    assert gateway.status()["groups"]["kept/frozen"] == 1
    assert 'ttrl_groups_total{verdict="frozen"}' in gateway.http.get("/metrics").text


def test_a_lineage_takes_so_many_questions_and_no_more(start: Start) -> None:
    gateway = start(engine(), guard={"max_questions": 2})
    asked = [ones(1), ones(2), ones(3), ones(2)]
    assert [gateway.ask(text).json()["ttrl"]["train"] for text in asked] == [
        "queued",
        "queued",
        "lineage_full",
        "queued",
    ]


def test_a_lineage_ends_after_so_many_versions_and_serves_the_last(start: Start) -> None:
    gateway = start(engine(), guard={"max_updates": 1})
    gateway.ask()
    step(gateway)
    gateway.ask()
    assert waiting(gateway) is None
    status = gateway.status()
    assert (status["learning"], status["served"]["number"]) == (False, 1)
    assert status["reason"].startswith("lineage_full")
    assert gateway.ask().status_code == 200


# ---------------------------------------------------------------- held-back questions


def held_back_gateway(start: Start, candidate: str, **guard: Any) -> Gateway:
    """Half of the questions are held back; enough were asked for some of each kind."""
    fake = engine()
    fake.of_version = {f"tiny@v{n}": lambda i: candidate if i % 4 else "9" for n in range(1, 9)}
    gateway = start(fake, **HELD_BACK, guard={"max_copies": 100} | guard)
    found = [gateway.ask(ones(n)).json()["ttrl"]["train"] for n in range(1, 13)]
    assert set(found) == {"queued", "held_back"}
    return gateway


def test_a_candidate_that_leaves_the_base_models_answers_is_not_served(start: Start) -> None:
    gateway = held_back_gateway(start, "1000")
    judgement = step(gateway)
    assert judgement["state"] == "rejected"
    assert "held-back questions" in judgement["reason"]
    assert gateway.status()["served"]["name"] == "tiny@base"
    assert gateway.engine.loaded == set()
    assert gateway.status()["groups"]["kept/held_back"] >= 1


def test_a_candidate_that_keeps_to_them_is_served(start: Start) -> None:
    gateway = held_back_gateway(start, "7")
    assert step(gateway)["state"] == "promoted"
    priorities = {
        body["priority"]
        for path, body in gateway.engine.seen
        if body.get("model") == "tiny@v1" and "priority" in body
    }
    assert priorities == {1}  # behind every client's sample


@pytest.mark.parametrize(("candidate", "state"), [("1000", "rejected"), ("7", "promoted")])
def test_sentinels_stand_for_what_the_traffic_does_not_ask(
    start: Start, candidate: str, state: str
) -> None:
    fake = engine()
    fake.of_version["tiny@v1"] = lambda i: candidate
    gateway = start(fake, gate={"sentinels": True})
    gateway.ask()
    judgement = step(gateway)
    assert judgement["state"] == state
    assert ("sentinel questions" in judgement["reason"]) == (state == "rejected")


def labelled_gateway(
    start: Start, folder: Path, candidate: str, questions: int, **gate: Any
) -> Gateway:
    """Three of four samples of the base model are right; the candidate always says one thing."""
    path = folder / "labelled.jsonl"
    path.write_text(
        "".join(
            json.dumps({"prompt": f"{n} + 7 - {n}?", "answer": "7.0"}) + "\n"
            for n in range(questions)
        )
    )
    fake = engine()
    fake.of_version["tiny@v1"] = lambda i: candidate
    gateway = start(fake, gate={"labelled": path, **gate})
    gateway.ask()
    return gateway


@pytest.mark.parametrize(
    ("candidate", "questions", "mode", "says"),
    [
        ("7", 60, "strict", ""),
        ("9", 60, "strict", "is worse: 0.000 right, the base model 0.7"),
        ("9", 60, "lenient", "is worse"),
        ("7", 2, "strict", "not shown to be within gate.margin"),
        ("9", 2, "lenient", ""),  # too few to show anything
    ],
)
def test_a_labelled_set_has_its_say(
    start: Start, tmp_path: Path, candidate: str, questions: int, mode: str, says: str
) -> None:
    gateway = labelled_gateway(start, tmp_path, candidate, questions, mode=mode)
    judgement = step(gateway)
    assert judgement["state"] == ("rejected" if says else "promoted")
    assert says in judgement["reason"]
    if not says:
        figures = gateway.service.promotions.ledger.figures(1)
        assert {
            "labelled_right",
            "gate_seconds",
            "gate_tokens",
            "gate_length",
            "probe_change",
        } <= figures.keys()


def test_candidates_refused_in_a_row_end_learning_and_serving_goes_on(start: Start) -> None:
    gateway = held_back_gateway(start, "1000", refusals=2)
    assert step(gateway)["state"] == "rejected"
    assert step(gateway)["state"] == "rejected"
    assert gateway.status()["reason"].startswith("held_back")
    assert gateway.ask().status_code == 200


# ---------------------------------------------------------------- alarms


def test_three_steps_that_are_not_finite_end_learning_and_serving_goes_on(start: Start) -> None:
    gateway = start(engine())
    for _ in range(3):
        gateway.ask()
        batch = lease(gateway)
        gateway.admin(
            "train/skip", {"batch": batch.id, "reason": "not finite", "metrics": {"groups": 1}}
        )
    assert gateway.status()["reason"].startswith("diverged")
    assert 'ttrl_alarms_total{alarm="diverged"} ' in gateway.http.get("/metrics").text
    assert gateway.ask().status_code == 200
    assert waiting(gateway) is None


def test_collapse_ends_learning_and_goes_back_to_the_last_good_version(start: Start) -> None:
    fake = engine()
    fake.text = lambda i: "The answer is 7." if i % 4 else "The answer is 9."
    fake.of_version["tiny@v1"] = lambda i: "The answer is 7." if i % 8 else "The answer is 9."
    # Surer than at first, and much shorter.
    fake.of_version["tiny@v2"] = lambda i: "7" if i % 8 else "9"
    gateway = start(fake, vote={"stop": "none"}, guard={"watch_groups": 1, "min_length": 0.2})
    for served in range(3):
        assert gateway.ask().json()["ttrl"]["train"] == "queued"
        assert step(gateway)["state"] == "promoted"
        assert gateway.status()["learning"] is (served < 2)
    status = gateway.status()
    assert status["reason"].startswith("collapse: v2: majority")
    assert status["served"]["number"] == 1
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v1"


def test_other_questions_are_no_collapse(start: Start) -> None:
    fake = engine()
    fake.text = lambda i: "The answer is 7." if i % 4 else "The answer is 9."
    fake.of_version["tiny@v1"] = lambda i: "7" if i % 8 else "9"
    gateway = start(fake, vote={"stop": "none"}, guard={"watch_groups": 1, "min_length": 0.5})
    gateway.ask(ones(1))
    step(gateway)
    gateway.ask(ones(2))
    assert step(gateway)["state"] == "promoted"
    assert gateway.status()["learning"] is True


def test_a_step_far_from_the_base_model_ends_learning(start: Start) -> None:
    gateway = start(engine(), guard={"max_kl": 1})
    gateway.ask()
    step(gateway, kl_base=3.0)
    assert gateway.status()["reason"].startswith("kl: 3 nats")
    assert gateway.status()["served"]["number"] == 0


def test_an_odd_importance_ratio_is_said_and_learning_goes_on(start: Start) -> None:
    gateway = start(engine())
    gateway.ask()
    step(gateway, ratio=3.0)
    assert 'ttrl_alarms_total{alarm="importance"}' in gateway.http.get("/metrics").text
    assert gateway.status()["learning"] is True
