"""How a vote is drawn: together, from one version, once for twins, and not at all for a client
that has gone."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from sqlalchemy import event

from tests.integration.conftest import Gateway, Start, asking
from tests.integration.fake_vllm import FakeVLLM

CHAT = "/v1/chat/completions"
QUESTION = asking(ttrl={"samples": 8})


def samples(gateway: Gateway) -> list[dict[str, Any]]:
    return [body for path, body in gateway.engine.seen if path == "/v1/completions"]


async def at_once(gateway: Gateway, *bodies: dict[str, Any]) -> list[httpx.Response]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30, verify=False) as http:
        return await asyncio.gather(*(http.post(CHAT, json=body) for body in bodies))


def test_a_question_is_tokenised_once_and_sampled_as_m_requests_of_one(gateway: Gateway) -> None:
    gateway.ask(seed=5, top_p=0.9)
    assert gateway.engine.paths() == ["/tokenize"] + ["/v1/completions"] * 8
    drawn = samples(gateway)
    for body in drawn:
        assert isinstance(body["prompt"], list)
        assert body["return_token_ids"]
        assert "n" not in body
        assert (body["temperature"], body["top_p"], body["top_k"]) == (0.6, 0.9, 0)
    assert {body["seed"] for body in drawn} == set(range(5, 13))


def test_the_models_own_sampling_defaults_never_bend_the_rollouts(gateway: Gateway) -> None:
    gateway.ask()
    plain = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    for body in samples(gateway):
        assert plain.items() <= body.items()


def test_a_completion_never_asks_for_more_tokens_than_the_context_has_left(
    gateway: Gateway,
) -> None:
    gateway.ask(max_tokens=1000)
    drawn = samples(gateway)
    assert {body["max_tokens"] for body in drawn} == {128 - len(drawn[0]["prompt"])}


async def test_equal_requests_at_once_are_votes_of_their_own(start: Start) -> None:
    """Scripts draw by asking many times (its_hub, optillm, avg@k)."""
    gateway = start(FakeVLLM(text=lambda i: f"{i % 3}", delay_s=0.3))
    replies = await at_once(gateway, *[QUESTION] * 3)
    assert len({reply.json()["id"] for reply in replies}) == 3
    assert gateway.engine.drawn == 24


async def test_identical_questions_in_flight_share_one_group(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: f"{i % 3}", delay_s=1.0), vote={"share": True})
    replies = await at_once(gateway, *[QUESTION] * 5)
    assert len({str(reply.json()["ttrl"]) for reply in replies}) == 1
    assert gateway.engine.drawn == 8
    assert gateway.status()["groups"]["pending"] == 1


async def test_a_single_sample_is_never_shared(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: f"{i}", delay_s=0.3), vote={"share": True})
    body = QUESTION | {"ttrl": {"samples": 1, "train": False}}
    replies = await at_once(gateway, *[body] * 5)
    said = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
    assert sorted(said) == ["0", "1", "2", "3", "4"]
    assert sum(gateway.status()["groups"].values()) == 0


async def test_a_twin_that_leaves_does_not_take_the_others_answer_away(start: Start) -> None:
    engine = FakeVLLM(text=lambda i: f"{i % 3}", held=lambda i: True)
    gateway = start(engine, vote={"share": True})
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30, verify=False) as http:
        leaving, staying = (asyncio.create_task(http.post(CHAT, json=QUESTION)) for _ in range(2))
        await asyncio.to_thread(gateway.until, lambda: gateway.engine.running == 8)
        await asyncio.sleep(0.2)
        leaving.cancel()
        await asyncio.sleep(0.2)
        gateway.engine.held = lambda i: False
        assert (await staying).status_code == 200
    assert gateway.engine.drawn == 8


async def test_a_client_that_goes_away_cancels_its_samples_and_its_group_is_never_trained_on(
    start: Start,
) -> None:
    gateway = start(FakeVLLM(held=lambda i: True))
    async with httpx.AsyncClient(base_url=gateway.url, verify=False) as http:
        leaving = asyncio.create_task(http.post(CHAT, json=QUESTION))
        await asyncio.to_thread(gateway.until, lambda: gateway.engine.running == 8)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    gateway.until(lambda: gateway.engine.running == 0)
    assert gateway.service.fleet.idle
    gateway.until(lambda: gateway.status()["groups"].get("kept/cancelled") == 1)
    assert gateway.status()["groups"]["pending"] == 0


def test_a_stream_that_is_hung_up_cancels_its_samples_too(start: Start) -> None:
    gateway = start(FakeVLLM(held=lambda i: True))
    with gateway.http.stream("POST", CHAT, json=QUESTION | {"stream": True}) as reply:
        next(reply.iter_lines())
        assert gateway.engine.running == 8
    gateway.until(lambda: gateway.engine.running == 0)
    gateway.until(lambda: gateway.service.fleet.idle)


async def test_the_engine_is_never_given_more_at_once_than_it_can_queue(start: Start) -> None:
    # To the last sample: one that is cancelled may be counted a moment longer than it is wanted.
    gateway = start(FakeVLLM(delay_s=0.1), engine={"max_num_seqs": 4}, vote={"stop": "none"})
    replies = await at_once(gateway, *(QUESTION | {"seed": i} for i in range(4)))
    assert [reply.status_code for reply in replies] == [200] * 4
    assert gateway.engine.most_running == 8


def test_an_answer_nobody_can_read_is_the_first_sample_and_is_not_trained_on(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "I like turtles." if i else "Hello there."))
    reply = gateway.ask().json()
    assert reply["choices"][0]["message"]["content"] == "Hello there."
    assert (reply["ttrl"]["majority_ratio"], reply["ttrl"]["train"]) == (None, "unvotable")


def test_a_unanimous_group_and_a_bent_one_are_kept_but_not_trained_on(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "7" if i < 8 else f"{i % 2}"))
    assert gateway.evidence()["train"] == "unanimous"
    assert gateway.evidence(top_p=0.5)["train"] == "sampling_parameters"
    assert gateway.status()["groups"]["kept"] == 2


def test_a_full_disk_costs_no_answer(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: f"{i % 2}"))
    assert gateway.service.learning
    store = gateway.service.learning._store
    with store._engine.connect() as connection:  # the smallest disk there is: no page may be added
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: Any) -> None:
        connection.connection.cursor().execute(f"PRAGMA max_page_count = {pages}")

    event.listen(store._engine, "begin", limit)
    for i in range(40):
        reply = gateway.ask(f"What is {i} + 4?")
        assert reply.status_code == 200
    assert reply.json()["ttrl"]["train"] == "not stored"
