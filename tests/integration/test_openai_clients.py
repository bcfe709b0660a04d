"""The official openai package, as people use it, against the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import FakeVLLM

MESSAGES: Any = [{"role": "user", "content": "What is 3 + 4?"}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


def split(i: int) -> str:
    """Three of four samples say 7."""
    return "The answer is 9." if i % 4 == 3 else "The answer is 7."


@pytest.fixture
def voting(start: Callable[..., Gateway]) -> Gateway:
    return start(FakeVLLM(text=split), vote={"stop": "none"})


def client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key="unused", max_retries=0)


def test_a_chat_completion_is_the_majoritys_answer_with_its_evidence(voting: Gateway) -> None:
    raw = client(voting).chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES)
    completion = raw.parse()
    assert completion.choices[0].message.content == "The answer is 7."
    assert completion.model == "tiny"
    assert completion.usage
    assert completion.usage.completion_tokens == len("The answer is 7.")
    assert completion.ttrl == {  # type: ignore[attr-defined]
        "answer": "7",
        "majority_ratio": 0.75,
        "margin": 0.5,
        "counts": {"7": 6, "9": 2},
        "samples": 8,
        "drawn": 8,
        "votes": 8,
        "requested": 8,
        "stopped": "full",
        "level": None,
        "adapter": "tiny@base",
        "entropy": 0.5,
        "sampled_tokens": 8 * len("The answer is 7."),
        "train": "queued",
        "why": "waits to be learned from",
    }
    assert raw.headers["x-ttrl-adapter"] == "tiny@base"
    assert raw.headers["x-request-id"]


def test_a_plain_completion_is_voted_on_too(voting: Gateway) -> None:
    completion = client(voting).completions.create(model="tiny", prompt="3 + 4 =")
    assert completion.choices[0].text == "The answer is 7."
    assert completion.ttrl["counts"] == {"7": 6, "9": 2}  # type: ignore[attr-defined]


def test_a_stream_brings_the_chosen_answer_in_chunks_and_usage_at_the_end(voting: Gateway) -> None:
    stream = client(voting).chat.completions.create(
        model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "The answer is 7."
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    last, usage = chunks[-2], chunks[-1]
    assert last.choices[0].finish_reason == "stop"
    assert last.ttrl["answer"] == "7"  # type: ignore[attr-defined]
    assert usage.usage
    assert usage.choices == []
    assert len({c.id for c in chunks}) == 1


def test_while_a_slow_vote_runs_a_stream_shows_its_progress_in_comments(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(FakeVLLM(text=split, delay_s=1.6))
    body = {"model": "tiny", "messages": MESSAGES, "stream": True}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert lines[0] == ": 0/8 samples"
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"


def test_an_error_before_the_first_sample_is_a_status_even_for_a_stream(voting: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="context"):
        client(voting).chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "word " * 500}], stream=True
        )


async def test_the_asynchronous_client_asks_many_questions_at_once(voting: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=voting.url + "/v1", api_key="unused") as asking:
        replies = await asyncio.gather(
            *(
                asking.chat.completions.create(
                    model="tiny", messages=[{"role": "user", "content": f"What is {i} + 4?"}]
                )
                for i in range(10)
            )
        )
    assert {reply.choices[0].message.content for reply in replies} <= {
        "The answer is 7.",
        "The answer is 9.",
    }
    assert len({reply.id for reply in replies}) == 10


def test_the_models_are_the_alias_and_the_base(voting: Gateway) -> None:
    assert [model.id for model in client(voting).models.list()] == ["tiny", "tiny@base"]


def test_extra_body_chooses_votes_and_keeps_a_question_out_of_the_store(voting: Gateway) -> None:
    completion = client(voting).chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        extra_body={"ttrl": {"samples": 4, "train": False, "stop": "none"}},
    )
    assert completion.ttrl["votes"] == 4  # type: ignore[attr-defined]
    assert completion.ttrl["train"] == "off"  # type: ignore[attr-defined]
    assert voting.status()["groups"]["pending"] == 0


@pytest.mark.parametrize("more", [{"store": False}, {"ttrl": {"train": False}}])
def test_store_false_keeps_a_question_out_of_the_store(
    voting: Gateway, more: dict[str, Any]
) -> None:
    assert voting.ask(**more).json()["ttrl"]["train"] == "off"
    assert sum(voting.status()["groups"].values()) == 0


def test_a_header_keeps_a_question_out_of_the_store(voting: Gateway) -> None:
    body = {"model": "tiny", "messages": MESSAGES}
    reply = voting.http.post("/v1/chat/completions", json=body, headers={"x-ttrl-train": "off"})
    assert reply.json()["ttrl"]["train"] == "off"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"n": 2}, "n"),
        ({"temperature": 0}, "temperature"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages"),
        ({"beam": 3}, "beam"),
        ({"a\r\nset-cookie: b": 3}, "a field"),
    ],
)
def test_what_is_more_than_a_plain_answer_passes_through_unchanged_and_says_why_it_was_not_voted_on(
    voting: Gateway, more: dict[str, Any], why: str
) -> None:
    body = {"model": "tiny", "messages": MESSAGES, "n": 1, **more}
    reply = voting.http.post("/v1/chat/completions", json=body)
    assert "ttrl" not in reply.json()
    assert reply.json()["model"] == "tiny@base"
    assert reply.headers["x-ttrl-unvoted"] == why
    assert "set-cookie" not in reply.headers
    assert voting.engine.seen == [("/v1/chat/completions", body | {"model": "tiny@base"})]


def test_a_client_cannot_overtake_the_votes(voting: Gateway) -> None:
    voting.ask(temperature=0, n=1, priority=-1_000_000)
    assert "priority" not in voting.engine.seen[-1][1]


def test_values_that_change_nothing_do_not_keep_a_group_from_training(voting: Gateway) -> None:
    plain: dict[str, Any] = {
        "top_p": 1,
        "top_k": -1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "logit_bias": {},
        "min_tokens": 0,
    }
    assert voting.ask(**plain).json()["ttrl"]["train"] == "queued"


def test_a_stream_that_is_not_voted_on_comes_byte_for_byte(voting: Gateway) -> None:
    reply = voting.ask(stream=True, temperature=0, n=1)
    assert reply.content == b"data: one\n\ndata: [DONE]\n\n"
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-ttrl-adapter"] == "tiny@base"


def test_a_clients_own_request_id_comes_back_and_does_not_name_the_group(voting: Gateway) -> None:
    body = {"model": "tiny", "messages": MESSAGES}
    replies = [
        voting.http.post("/v1/chat/completions", json=body, headers={"x-request-id": "mine"})
        for _ in range(2)
    ]
    assert [reply.headers["x-request-id"] for reply in replies] == ["mine", "mine"]
    assert voting.status()["groups"]["pending"] == 2
