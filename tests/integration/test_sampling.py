"""How a vote is drawn: together, from one version, once for twins, and not at all for a client
that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import FakeVLLM

QUESTION = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "What is 3 + 4?"}],
    "ttrl": {"samples": 8},
}


def samples(gateway: Gateway) -> list[dict[str, object]]:
    return [body for path, body in gateway.engine.seen if path == "/v1/completions"]


def test_a_question_is_tokenised_once_and_sampled_as_m_requests_of_one(gateway: Gateway) -> None:
    gateway.ask(seed=5, top_p=0.9)
    assert gateway.engine.paths() == ["/tokenize"] + ["/v1/completions"] * 8
    drawn = samples(gateway)
    assert all(
        isinstance(body["prompt"], list) and "n" not in body and body["return_token_ids"]
        for body in drawn
    )
    assert {body["seed"] for body in drawn} == set(range(5, 13))
    assert {(body["temperature"], body["top_p"], body["top_k"]) for body in drawn} == {
        (0.6, 0.9, 0)
    }


def test_the_models_own_sampling_defaults_never_bend_the_rollouts(gateway: Gateway) -> None:
    gateway.ask()
    for body in samples(gateway):
        assert (body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (
            1.0,
            0,
            0.0,
            1.0,
        )


def test_a_completion_never_asks_for_more_tokens_than_the_context_has_left(
    gateway: Gateway,
) -> None:
    gateway.ask(max_tokens=1000)
    prompt = samples(gateway)[0]["prompt"]
    assert isinstance(prompt, list)
    assert {body["max_tokens"] for body in samples(gateway)} == {128 - len(prompt)}


async def test_identical_questions_in_flight_share_one_group(start: Callable[..., Gateway]) -> None:
    gateway = start(FakeVLLM(text=lambda i: f"{i % 3}", delay_s=0.3))
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        replies = await asyncio.gather(
            *(http.post("/v1/chat/completions", json=QUESTION) for _ in range(5))
        )
    assert len({str(reply.json()["ttrl"]) for reply in replies}) == 1
    assert gateway.engine.drawn == 8
    assert gateway.status()["groups"]["pending"] == 1


async def test_a_single_sample_is_never_shared(start: Callable[..., Gateway]) -> None:
    gateway = start(FakeVLLM(text=lambda i: f"{i}", delay_s=0.3))
    body = QUESTION | {"ttrl": {"samples": 1, "train": False}}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        replies = await asyncio.gather(
            *(http.post("/v1/chat/completions", json=body) for _ in range(5))
        )
    assert {reply.json()["choices"][0]["message"]["content"] for reply in replies} == {
        "0",
        "1",
        "2",
        "3",
        "4",
    }
    assert sum(gateway.status()["groups"].values()) == 0


async def test_a_twin_that_leaves_does_not_take_the_others_answer_away(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(text=lambda i: f"{i % 3}", delay_s=0.5))
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        leaving = asyncio.create_task(http.post("/v1/chat/completions", json=QUESTION))
        staying = asyncio.create_task(http.post("/v1/chat/completions", json=QUESTION))
        await asyncio.sleep(0.2)
        leaving.cancel()
        assert (await staying).status_code == 200
    assert gateway.engine.drawn == 8


async def test_a_client_that_goes_away_cancels_its_samples_and_its_group_is_never_trained_on(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(delay_s=30))
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=QUESTION))
        await asyncio.to_thread(gateway.until, lambda: gateway.engine.running == 8)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await asyncio.to_thread(gateway.until, lambda: gateway.engine.running == 0, 1.0)
    assert gateway.service.fleet.idle
    await asyncio.to_thread(
        gateway.until, lambda: gateway.status()["groups"].get("kept/cancelled") == 1, 2.0
    )
    assert gateway.status()["groups"]["pending"] == 0


async def test_a_stream_that_is_hung_up_cancels_its_samples_too(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(delay_s=30))
    async with (
        httpx.AsyncClient(base_url=gateway.url) as http,
        http.stream("POST", "/v1/chat/completions", json=QUESTION | {"stream": True}) as reply,
    ):
        await anext(reply.aiter_lines())
        assert gateway.engine.running == 8
    await asyncio.to_thread(gateway.until, lambda: gateway.engine.running == 0, 2.0)
    await asyncio.to_thread(gateway.until, lambda: gateway.service.fleet.idle, 2.0)


async def test_the_engine_is_never_given_more_at_once_than_it_can_queue(
    start: Callable[..., Gateway],
) -> None:
    # To the last sample: one that is cancelled may be counted a moment longer than it is wanted.
    gateway = start(
        FakeVLLM(delay_s=0.1), engine={"max_num_seqs": 4}, vote={"samples": 8, "stop": "none"}
    )
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        bodies = [QUESTION | {"seed": i} for i in range(4)]
        replies = await asyncio.gather(
            *(http.post("/v1/chat/completions", json=body) for body in bodies)
        )
    assert [reply.status_code for reply in replies] == [200] * 4
    assert gateway.engine.most_running == 8


def test_a_vote_past_its_deadline_is_504_and_is_cancelled(start: Callable[..., Gateway]) -> None:
    gateway = start(FakeVLLM(delay_s=30), vote={"deadline_s": 0.3})
    reply = gateway.ask()
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline_exceeded")
    gateway.until(lambda: gateway.engine.running == 0)


def test_an_answer_nobody_can_read_is_the_first_sample_and_is_not_trained_on(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(text=lambda i: "I like turtles." if i else "Hello there."))
    reply = gateway.ask().json()
    assert reply["choices"][0]["message"]["content"] == "Hello there."
    assert (reply["ttrl"]["majority_ratio"], reply["ttrl"]["train"]) == (None, "unvotable")


def test_a_unanimous_group_and_a_bent_one_are_kept_but_not_trained_on(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(text=lambda i: "7" if i < 8 else f"{i % 2}"))
    assert gateway.ask().json()["ttrl"]["train"] == "unanimous"
    assert gateway.ask(top_p=0.5).json()["ttrl"]["train"] == "sampling_parameters"
    assert gateway.status()["groups"]["kept"] == 2


def test_a_full_disk_costs_no_answer(start: Callable[..., Gateway]) -> None:
    gateway = start(FakeVLLM(text=lambda i: f"{i % 2}"))
    assert gateway.service.learning
    store = gateway.service.learning._store
    with store._engine.connect() as connection:  # the smallest disk there is: no page may be added
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    from sqlalchemy import event

    event.listen(
        store._engine,
        "begin",
        lambda c: c.connection.cursor().execute(f"PRAGMA max_page_count = {pages}"),
    )
    last = ""
    for i in range(40):
        reply = gateway.ask(f"What is {i} + 4?")
        assert reply.status_code == 200
        last = reply.json()["ttrl"]["train"]
    assert last == "not stored"
