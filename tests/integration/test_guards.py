"""Guards, rewards and alarms through the front door, with the trainer played by the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from errno import ENOSPC
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from tests.integration.conftest import ADMIN, Gateway, Start, ones, problem, until_watched
from tests.integration.fake_vllm import FakeVLLM
from ttrl_server.promotion import promotions

HELD_BACK = {"canary_share": 0.5, "canary_least": 1, "canary_samples": 8, "canary_z": 2}


def feedback(gateway: Gateway, answer: str, headers: Any = None, **given: Any) -> httpx.Response:
    return gateway.http.post("/v1/feedback", json={"id": answer, **given}, headers=headers)


def saying(answer: str, other: str = "9", every: int = 4) -> Callable[[int], str]:
    """All samples say it, but one of so many."""
    return lambda i: answer if i % every else other


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
    gateway = start()
    answer = gateway.ask().json()["id"]
    reply = feedback(gateway, answer, **given)
    assert reply.json() == {"id": answer, "object": "feedback", "train": "queued"}
    (experience,) = gateway.lease().experiences
    assert experience.rewards == rewards
    assert feedback(gateway, answer, **given).status_code == 409


def test_feedback_makes_something_of_a_group_the_vote_could_not_use(start: Start) -> None:
    gateway = start(guard={"min_majority": 1.0})
    answer = gateway.ask().json()
    assert answer["ttrl"]["train"] == "no_consensus"
    assert feedback(gateway, answer["id"], label="7").json()["train"] == "queued"
    assert gateway.lease().experiences[0].rewards == (0, 1, 1, 1)


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
    assert problem(gateway.http.post("/v1/feedback", json=body), "param") == (status, param)


@pytest.mark.usefixtures("impatient")
def test_a_held_back_question_is_not_trained_on_for_a_verdict_either(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "7"), gate={"canary_share": 0.999})
    answer = gateway.ask().json()
    assert answer["ttrl"]["train"] == "unanimous"
    assert feedback(gateway, answer["id"], label="9").json()["train"] == "held_back"
    assert gateway.waiting() is None


def test_a_server_may_take_no_labels(start: Start) -> None:
    gateway = start(train={"feedback": False})
    assert problem(gateway.ask(ttrl={"label": "9"}), "param") == (400, "ttrl.label")
    assert feedback(gateway, gateway.ask().json()["id"], score=1).status_code == 409


def test_nobody_judges_the_answers_of_another_key(start: Start) -> None:
    gateway = start(api={"admin_key": ADMIN, "keys": ["one", "two"]})
    mine, theirs = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    answer = gateway.ask(headers=mine).json()["id"]
    assert feedback(gateway, answer, theirs, score=1).status_code == 404
    assert feedback(gateway, answer, mine, score=1).status_code == 200


def test_a_given_label_is_learned_from_instead_of_the_vote(start: Start) -> None:
    gateway = start()
    assert gateway.evidence(ttrl={"label": "9"})["train"] == "queued"
    assert gateway.lease().experiences[0].rewards == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("reward", "earned"),
    [("majority", [0, 0, 1, 1]), ("signed", [-1, 0, 1, 1]), ("answered", [0, 1, 1, 1])],
)
def test_the_setting_says_what_earns(start: Start, reward: str, earned: list[float]) -> None:
    said = ["9", "7", "7", "I do not know."]  # in the order in which the samples happen to arrive
    fake = FakeVLLM(text=lambda i: said[i])
    gateway = start(fake, train={"reward": reward}, vote={"samples": 4}, guard={"rare": 0.3})
    gateway.ask()
    assert sorted(gateway.lease().experiences[0].rewards) == earned


# ---------------------------------------------------------------- questions


def test_one_question_waits_once(start: Start) -> None:
    gateway = start(guard={"max_copies": 1})
    assert [gateway.evidence()["train"] for _ in range(2)] == ["queued", "duplicate"]
    assert 'ttrl_groups_total{verdict="duplicate"}' in gateway.http.get("/metrics").text
    gateway.lease()
    assert gateway.evidence()["train"] == "queued"


def test_a_question_whose_majority_keeps_changing_is_learned_from(start: Start) -> None:
    of_version = {f"tiny@v{number}": saying(str(number)) for number in (1, 2)}
    gateway = start(FakeVLLM(of_version=of_version))
    gateway.promote()
    gateway.promote()
    assert gateway.evidence()["train"] == "queued"


def test_a_lineage_takes_so_many_questions_and_no_more(start: Start) -> None:
    gateway = start(guard={"max_questions": 2})
    trained = [gateway.evidence(ones(n))["train"] for n in (1, 2, 3, 2)]
    assert trained == ["queued", "queued", "lineage_full", "queued"]


@pytest.mark.usefixtures("impatient")
def test_a_lineage_ends_after_so_many_versions_and_serves_the_last(start: Start) -> None:
    gateway = start(guard={"max_updates": 1})
    gateway.promote()
    gateway.ask()
    assert gateway.waiting() is None
    status = gateway.status()
    assert (status["learning"], status["served"]["number"]) == (False, 1)
    assert status["reason"].startswith("lineage_full")
    assert gateway.ask().status_code == 200


# ---------------------------------------------------------------- held-back questions


def held_back_gateway(start: Start, candidate: str, **guard: Any) -> Gateway:
    """Half of the questions are held back; enough were asked for some of each kind."""
    fake = FakeVLLM(of_version={f"tiny@v{n}": saying(candidate) for n in (1, 2)})
    gateway = start(fake, gate=HELD_BACK, guard=guard)
    assert {gateway.evidence(ones(n))["train"] for n in range(1, 13)} == {"queued", "held_back"}
    return gateway


def test_a_candidate_that_leaves_the_base_models_answers_is_not_served(start: Start) -> None:
    gateway = held_back_gateway(start, "1000")
    judgement = gateway.propose(gateway.lease())
    assert judgement["state"] == "rejected"
    assert "held-back questions" in judgement["reason"]
    assert gateway.served == "tiny@base"
    assert gateway.engine.loaded == set()
    assert gateway.status()["groups"]["kept/held_back"] >= 1


def test_a_candidate_that_keeps_to_them_is_served(start: Start) -> None:
    gateway = held_back_gateway(start, "7")
    assert gateway.propose(gateway.lease())["state"] == "promoted"
    asked = [body for _, body in gateway.engine.seen if body.get("model") == "tiny@v1"]
    priorities = {body["priority"] for body in asked if "priority" in body}
    assert priorities == {1}  # behind every client's sample


@pytest.mark.parametrize(("share", "state"), [(0.3, "rejected"), (0.55, "promoted")])
def test_sentinels_stand_for_what_the_traffic_does_not_ask(
    start: Start, share: float, state: str
) -> None:
    gateway = start(FakeVLLM(right={"tiny@v1": share}), gate={"sentinels": True})
    gateway.ask()
    judgement = gateway.propose(gateway.lease())
    assert judgement["state"] == state
    assert ("sentinel questions" in judgement["reason"]) == (state == "rejected")


def test_a_version_is_held_against_the_one_it_replaces_and_not_the_base_alone(start: Start) -> None:
    """At T = 1.0 a version right in 0.276 of the sentinels was served over one with 0.417."""
    fake = FakeVLLM(right={"tiny@v1": 0.8, "tiny@v2": 0.6})
    gateway = start(fake, gate={"sentinels": True})
    gateway.promote()
    gateway.ask()
    judgement = gateway.propose(gateway.lease())
    assert judgement["state"] == "rejected"
    assert "v1" in judgement["reason"]
    assert gateway.served == "tiny@v1"
    figures = gateway.service.promotions.ledger.figures(1)
    assert figures["sentinel_right"] > figures["sentinel_base"]
    assert figures["gate_sees"] <= 0.15


@pytest.mark.parametrize(
    ("base", "gate", "state"),
    [
        (0.02, {}, "rejected"),  # hardly a sentinel that could fall
        (0.99, {}, "rejected"),
        (0.02, {"blind": "promote"}, "promoted"),
        (0.5, {}, "promoted"),
    ],
)
def test_a_gate_that_cannot_see_says_so_and_promotes_nothing(
    start: Start, base: float, gate: dict[str, Any], state: str
) -> None:
    fake = FakeVLLM(right={"tiny@base": base, "tiny@v1": base})
    gateway = start(fake, gate={"sentinels": True} | gate)
    gateway.ask()
    judgement = gateway.propose(gateway.lease())
    assert judgement["state"] == state
    assert judgement["reason"].startswith("blind:") == (state == "rejected")
    assert gateway.ask().status_code == 200


def test_an_examination_out_of_time_goes_on_with_what_it_drew(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = [True]
    fake = FakeVLLM(held=lambda i: i == 40 and stuck[0])
    gateway = start(fake, gate={"sentinels": True}, engine={"max_num_seqs": 64})
    gateway.ask()
    batch = gateway.lease()
    monkeypatch.setattr(promotions, "EXAMINE_S", 1.0)

    def twice() -> int:
        bodies = (body for _, body in list(fake.seen) if body.get("priority") == 1)
        drawn = [(body["model"], tuple(body["prompt"]), body["seed"]) for body in bodies]
        return len(drawn) - len(set(drawn))

    proposal = gateway.aside(gateway.propose, batch)
    gateway.until(lambda: twice() > 0)  # the first try is over, the next asks what is missing
    stuck[0] = False
    assert proposal.result()["state"] == "promoted"
    assert twice() <= 3 * 64  # of a thousand: only what was under way at the end of a try


@pytest.mark.parametrize(
    ("candidate", "questions", "mode", "says"),
    [
        ("7", 30, "strict", ""),
        ("9", 30, "strict", "is worse: 0.000 right, the base model 0.7"),
        ("9", 30, "lenient", "is worse"),
        ("7", 2, "strict", "not shown to be within gate.margin"),
        ("9", 2, "lenient", ""),  # too few to show anything
    ],
)
def test_a_labelled_set_has_its_say(
    start: Start, tmp_path: Path, candidate: str, questions: int, mode: str, says: str
) -> None:
    """Three of four samples of the base model are right; the candidate always says one thing."""
    path = tmp_path / "labelled.jsonl"
    rows = [{"prompt": f"{n} + 7 - {n}?", "answer": "7.0"} for n in range(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fake = FakeVLLM(of_version={"tiny@v1": lambda i: candidate})
    gateway = start(fake, gate={"labelled": path, "mode": mode, "canary_samples": 4})
    gateway.ask()
    judgement = gateway.propose(gateway.lease())
    assert judgement["state"] == ("rejected" if says else "promoted")
    assert says in judgement["reason"]
    if not says:
        figures = gateway.service.promotions.ledger.figures(1).keys()
        assert {"labelled_right", "gate_seconds", "gate_tokens"} <= figures
        assert {"gate_length", "probe_change"} <= figures


def test_candidates_refused_in_a_row_end_learning_and_serving_goes_on(start: Start) -> None:
    gateway = held_back_gateway(start, "1000", refusals=2)
    for _ in range(2):
        assert gateway.propose(gateway.lease())["state"] == "rejected"
    assert gateway.status()["reason"].startswith("held_back")
    assert gateway.ask().status_code == 200


def test_a_served_version_falls_with_the_candidate_that_shows_it(start: Start) -> None:
    """It was promoted while nothing was held back; four candidates made from it were refused, one
    after another, and it was served on."""
    lost = {f"tiny@v{n}": (lambda i: "1000") for n in range(1, 9)}
    gateway = start(FakeVLLM(of_version=lost), gate=HELD_BACK | {"canary_least": 4})
    n = 1
    while gateway.evidence(ones(n))["train"] != "queued":
        n += 1
    assert gateway.propose(gateway.lease())["state"] == "promoted"
    for more in range(n + 1, n + 13):
        gateway.ask(ones(more), model="tiny@base")
    judgement = gateway.propose(gateway.lease())
    assert judgement["reason"].startswith("canary")
    gateway.until(lambda: gateway.served == "tiny@base")
    (back,) = (e for e in gateway.service.promotions.ledger.about(1) if e.event == "rolled_back")
    assert "held-back questions" in str(back.reason)
    assert gateway.status()["learning"] is True


def capital(names: int) -> str:
    return f"What is the capital of {' '.join(['Land'] * names)}? Answer with just the word."


def spoilt(start: Start, *versions: str, **gate: Any) -> Gateway:
    """Versions that say one of four things where the base model mostly says 7."""
    digits = {name: (lambda i: str(i % 4)) for name in versions}
    gateway = start(FakeVLLM(of_version=digits), gate={"witnesses": 3, "canary_samples": 8} | gate)
    for names in range(1, 5):
        gateway.ask(capital(names), model="tiny@base")
    return gateway


def test_a_candidate_that_has_lost_one_form_is_not_served(start: Start) -> None:
    """A label of one comparison made the others first digits; held-back questions were few."""
    gateway = spoilt(start, "tiny@v1")
    judgement = gateway.propose(gateway.lease())
    assert judgement["state"] == "rejected"
    assert "questions like 'What is the capital of Land" in judgement["reason"]
    assert gateway.propose(gateway.lease())["state"] == "promoted"  # v2 says what the base does


def test_the_witnesses_of_a_form_outlive_a_restart(start: Start) -> None:
    before = spoilt(start)
    before.stop()
    before.engine.of_version = {"tiny@v1": lambda i: str(i % 4)}
    gateway = start(before.engine, gate={"witnesses": 3, "canary_samples": 8})
    judgement = gateway.propose(gateway.lease())
    assert "questions like 'What is the capital of Land" in judgement["reason"]


def test_too_few_questions_of_a_form_do_not_judge(start: Start) -> None:
    gateway = spoilt(start, "tiny@v1", witnesses=5)
    assert gateway.propose(gateway.lease())["state"] == "promoted"


def test_a_served_version_that_has_lost_a_form_falls(start: Start) -> None:
    gateway = spoilt(start, *(f"tiny@v{n}" for n in range(1, 9)), witnesses=5)
    assert gateway.propose(gateway.lease())["state"] == "promoted"
    gateway.ask(capital(9), model="tiny@base")
    judgement = gateway.propose(gateway.lease())
    assert judgement["reason"].startswith("canary")
    gateway.until(lambda: gateway.served == "tiny@base")
    assert gateway.status()["learning"] is True


# ---------------------------------------------------------------- attractors


NOTICED = {"attractors": True}


def attracted(start: Start, full_disk: bool = False) -> Gateway:
    """A gateway that has just gone back: every question of a form was won by Paris."""
    towns = [f"Town{chr(97 + i)}" for i in range(26)]
    lost = {f"tiny@v{n}": saying("Paris", "Rome") for n in range(1, 9)}
    fake = FakeVLLM(text=lambda i: towns[i // 8 % 26] if i % 2 else "Oslo", of_version=lost)
    gateway = start(fake, guard=NOTICED)
    for n in range(1, 6):
        gateway.ask(capital(n))
    ledger = gateway.service.promotions.ledger
    disk = patch.object(ledger, "withhold", side_effect=OSError(ENOSPC, "full"))
    with disk if full_disk else nullcontext():
        for version in (1, 2):
            assert gateway.propose(gateway.lease())["state"] == "promoted"
            for n in range(6, 10):
                gateway.ask(capital(n + 4 * version))
        gateway.until(lambda: gateway.served == "tiny@base")
    (back,) = (e for e in ledger.about(0) if e.by == "watch")
    assert "'paris' to all" in str(back.reason)
    fake.text = saying("Paris", "Rome")
    assert gateway.evidence(capital(30))["train"] == "attractor"
    return gateway


def test_one_answer_to_a_whole_form_is_taken_back_and_not_taught_again(start: Start) -> None:
    """At one order of its questions a model made every country its own capital, unanimous, over
    nine promoted versions that no guard spoke about."""
    gateway = attracted(start)
    gateway.engine.text = FakeVLLM.text
    assert gateway.evidence(ones(3))["train"] == "queued"  # the rest goes on
    assert gateway.status()["learning"] is True


def test_what_questions_were_won_by_before_a_restart_is_compared_with_what_wins_now(
    start: Start,
) -> None:
    fake = FakeVLLM(text=lambda i: f"Town{chr(97 + i // 8 % 26)}" if i % 2 else "Oslo")
    fake.of_version = {f"tiny@v{n}": saying("Paris", "Rome") for n in range(1, 9)}
    gateway = start(fake, guard=NOTICED)
    for n in range(1, 6):
        gateway.ask(capital(n))
    for version in (1, 2):
        assert gateway.propose(gateway.lease())["state"] == "promoted"
        gateway.stop()
        gateway = start(fake, guard=NOTICED)
        for n in range(6, 10):
            gateway.ask(capital(n + 4 * version))
    gateway.until(lambda: gateway.served == "tiny@base")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("full_disk", [False, True])
def test_a_form_that_is_not_taught_is_not_taught_after_a_restart(
    start: Start, full_disk: bool
) -> None:
    gateway = attracted(start, full_disk)
    gateway.waiting()  # the trainer asks for a batch
    gateway.stop()
    again = start(gateway.engine, guard=NOTICED)
    assert again.evidence(capital(31))["train"] == "attractor"


def test_answers_that_the_base_model_gives_too_are_no_attractor(start: Start) -> None:
    fake = FakeVLLM(text=lambda i: f"Town{chr(97 + i // 8 % 26)}" if i % 2 else "Oslo")
    gateway = start(fake, guard=NOTICED)
    for n in range(1, 6):
        gateway.ask(capital(n))
    fake.text = saying("Paris", "Rome")  # the base model and all versions: the questions changed
    for version in (1, 2):
        assert gateway.propose(gateway.lease())["state"] == "promoted"
        for n in range(6, 10):
            gateway.ask(capital(n + 4 * version))
    until_watched(gateway)
    assert gateway.served == "tiny@v2"
    assert gateway.evidence(capital(30))["train"] == "queued"


def test_a_label_that_stands_in_its_question_needs_most_of_the_votes(start: Start) -> None:
    said = ["18", "17", "18", "15", "18", "17", "18", "18"]  # 18 has five of eight
    gateway = start(FakeVLLM(text=lambda i: said[i % 8]))
    assert gateway.evidence("What is 18 - 1?")["train"] == "echo"
    assert gateway.evidence("What is 19 - 1?")["train"] == "queued"


def test_where_one_answer_wins_every_question_of_a_form_no_label_is_taught(start: Start) -> None:
    fake = FakeVLLM(text=lambda i: ["odd", "even", "odd", "odd"][i % 4])
    gateway = start(fake, guard=NOTICED)
    trained = [gateway.evidence(f"Is {n} even or odd?")["train"] for n in range(11, 18)]
    assert trained == ["queued"] * 6 + ["constant"]
    gateway.stop()
    gateway = start(fake, guard=NOTICED)
    assert gateway.evidence("Is 19 even or odd?")["train"] == "constant"
    assert gateway.evidence("Is the grass green or blue?")["train"] == "unvotable"


# ---------------------------------------------------------------- alarms


@pytest.mark.usefixtures("impatient")
def test_three_steps_that_are_not_finite_end_learning_and_serving_goes_on(start: Start) -> None:
    gateway = start()
    for _ in range(3):
        gateway.ask()
        body = {"batch": gateway.lease().id, "reason": "not finite", "metrics": {"groups": 1}}
        gateway.admin("train/skip", body)
    assert gateway.status()["reason"].startswith("diverged")
    assert 'ttrl_alarms_total{alarm="diverged"} ' in gateway.http.get("/metrics").text
    assert gateway.ask().status_code == 200
    assert gateway.waiting() is None


LONG = saying("The answer is 7.", "The answer is 9.")
SURER = saying("The answer is 7.", "The answer is 9.", every=8)
SHORT = saying("7", every=8)
"""Surer than at first, and much shorter."""


def test_collapse_ends_learning_and_goes_back_to_the_last_good_version(start: Start) -> None:
    fake = FakeVLLM(text=LONG, of_version={"tiny@v1": SURER, "tiny@v2": SHORT})
    gateway = start(fake, vote={"stop": "none"}, guard={"watch_groups": 1, "min_length": 0.2})
    for served in range(3):
        gateway.promote()
        assert gateway.status()["learning"] is (served < 2)
    assert gateway.status()["reason"].startswith("collapse: v2: majority")
    assert gateway.served == "tiny@v1"
    assert gateway.evidence()["adapter"] == "tiny@v1"


def test_other_questions_are_no_collapse(start: Start) -> None:
    fake = FakeVLLM(text=LONG, of_version={"tiny@v1": SHORT})
    gateway = start(fake, vote={"stop": "none"}, guard={"watch_groups": 1, "min_length": 0.5})
    gateway.promote(ones(1))
    gateway.promote(ones(2))
    assert gateway.status()["learning"] is True


def test_a_candidate_far_from_the_base_model_is_never_served_and_learning_goes_on(
    start: Start,
) -> None:
    gateway = start(guard={"max_kl": 1})
    gateway.ask()
    judgement = gateway.propose(gateway.lease(), kl_base=3.0, kl_tokens=512.0)
    assert judgement["reason"].startswith("kl: 3 nats a token from the base model")
    assert (gateway.served, gateway.status()["promoted"]) == ("tiny@base", 0)
    gateway.ask()
    assert gateway.propose(gateway.lease(), kl_base=0.5)["state"] == "promoted"


def test_an_odd_importance_ratio_is_said_and_learning_goes_on(start: Start) -> None:
    gateway = start()
    gateway.ask()
    gateway.propose(gateway.lease(), ratio=3.0)
    assert 'ttrl_alarms_total{alarm="importance"}' in gateway.http.get("/metrics").text
    assert gateway.status()["learning"] is True
