"""The official openai package, as people use it, against the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.integration.conftest import Gateway, Start, asking
from tests.integration.fake_vllm import FakeVLLM

MESSAGES: Any = asking()["messages"]
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


def split(i: int) -> str:
    """Three of four samples say 7."""
    return "The answer is 9." if i % 4 == 3 else "The answer is 7."


@pytest.fixture(scope="module")
def shared(start_one: Start) -> Gateway:
    return start_one(FakeVLLM(text=split), vote={"stop": "none"})


@pytest.fixture(scope="module")
def client(shared: Gateway) -> Any:
    return openai.OpenAI(base_url=f"{shared.url}/v1", api_key="unused", max_retries=0)


def pending(gateway: Gateway) -> int:
    return int(gateway.status()["groups"]["pending"])


def test_a_chat_completion_is_the_majoritys_answer_with_its_evidence(client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES)
    completion = raw.parse()
    assert completion.choices[0].message.content == "The answer is 7."
    assert completion.model == "tiny"
    assert completion.usage.completion_tokens == len("The answer is 7.")
    assert completion.ttrl == {
        "answer": "7",
        "majority_ratio": 0.75,
        "margin": 0.5,
        "confidence": None,
        "base_ratio": None,
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


def test_a_plain_completion_is_voted_on_too(client: Any) -> None:
    completion = client.completions.create(model="tiny", prompt="3 + 4 =")
    assert completion.choices[0].text == "The answer is 7."
    assert completion.ttrl["counts"] == {"7": 6, "9": 2}


def test_a_stream_brings_the_chosen_answer_in_chunks_and_usage_at_the_end(client: Any) -> None:
    body = asking(stream=True, stream_options={"include_usage": True})
    chunks = list(client.chat.completions.create(**body))
    said = (c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "".join(said) == "The answer is 7."
    assert chunks[0].choices[0].delta.role == "assistant"
    last, usage = chunks[-2], chunks[-1]
    assert last.choices[0].finish_reason == "stop"
    assert last.ttrl["answer"] == "7"
    assert usage.usage
    assert usage.choices == []
    assert len({c.id for c in chunks}) == 1


def test_an_error_before_the_first_sample_is_a_status_even_for_a_stream(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(**asking("word " * 500), stream=True)


async def test_the_asynchronous_client_asks_many_questions_at_once(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused") as asker:
        questions = [asking(f"What is {i} + 4?") for i in range(10)]
        replies = await asyncio.gather(*(asker.chat.completions.create(**q) for q in questions))
    said = {reply.choices[0].message.content for reply in replies}
    assert said <= {"The answer is 7.", "The answer is 9."}
    assert len({reply.id for reply in replies}) == 10


def test_the_models_are_the_alias_and_the_base(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "tiny@base"]


def test_extra_body_chooses_the_samples(client: Any) -> None:
    wanted = {"ttrl": {"samples": 4, "train": False, "stop": "none"}}
    completion = client.chat.completions.create(**asking(), extra_body=wanted)
    assert (completion.ttrl["votes"], completion.ttrl["train"]) == (4, "off")


@pytest.mark.parametrize(
    "more", [{"store": False}, {"ttrl": {"train": False}}, {"headers": {"x-ttrl-train": "off"}}]
)
def test_a_client_may_keep_a_question_out_of_the_store(
    gateway: Gateway, more: dict[str, Any]
) -> None:
    before = gateway.status()["groups"]
    assert gateway.evidence(**more)["train"] == "off"
    assert gateway.status()["groups"] == before


@pytest.mark.parametrize(
    ("more", "why"),
    [
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
    gateway: Gateway, more: dict[str, Any], why: str
) -> None:
    body = asking(n=1) | more
    reply = gateway.http.post("/v1/chat/completions", json=body)
    assert "ttrl" not in reply.json()
    assert reply.json()["model"] == "tiny@base"
    assert reply.headers["x-ttrl-unvoted"] == why
    assert "set-cookie" not in reply.headers
    assert gateway.engine.seen == [("/v1/chat/completions", body | {"model": "tiny@base"})]


def test_a_client_cannot_overtake_the_votes(gateway: Gateway) -> None:
    gateway.ask(temperature=0, n=1, priority=-1_000_000)
    assert "priority" not in gateway.engine.seen[-1][1]


def test_values_that_change_nothing_do_not_keep_a_group_from_training(gateway: Gateway) -> None:
    penalties = {"frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}}
    assert gateway.evidence(top_p=1, top_k=-1, min_tokens=0, **penalties)["train"] == "queued"


def test_a_stream_that_is_not_voted_on_comes_byte_for_byte(gateway: Gateway) -> None:
    reply = gateway.ask(stream=True, temperature=0, n=1)
    assert reply.content == b"data: one\n\ndata: [DONE]\n\n"
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-ttrl-adapter"] == "tiny@base"


def test_a_clients_own_request_id_comes_back_and_does_not_name_the_group(gateway: Gateway) -> None:
    before = pending(gateway)
    for _ in range(2):
        assert gateway.ask(headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"
    assert pending(gateway) == before + 2
