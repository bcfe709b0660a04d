"""Why nothing was voted on or learned from: said to the client, in the log, and to whoever asks
for the status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import structlog.testing

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import FakeVLLM
from ttrl_server.telemetry import metrics, summary

Start = Callable[..., Gateway]
TITLE = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Chat History:
<chat_history>
USER: What is 7 * 8?
</chat_history>"""


def test_a_request_for_anything_open_is_answered_by_one_sample_and_the_reply_says_why(
    start: Start,
) -> None:
    poem = "Roses are red.\nViolets are 7.\nSo it goes."
    gateway = start(FakeVLLM(text=lambda i: poem))
    reply = gateway.ask("Write a poem about the number 7.")
    ttrl = reply.json()["ttrl"]
    assert (ttrl["stopped"], ttrl["train"], ttrl["answer"]) == ("unvotable", "unvotable", None)
    assert "nothing was asked that samples could be compared by" in ttrl["why"]
    assert (reply.headers["x-ttrl-unvoted"], reply.headers["x-ttrl-train"]) == (
        "unvotable",
        "unvotable",
    )
    assert ttrl["votes"] < 64


def test_a_unanimous_group_says_that_there_is_nothing_to_learn(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "The answer is 7."))
    reply = gateway.ask()
    assert (reply.json()["ttrl"]["train"], reply.headers["x-ttrl-train"]) == (
        "unanimous",
        "unanimous",
    )
    assert "agrees with itself" in reply.json()["ttrl"]["why"]
    assert "x-ttrl-unvoted" not in reply.headers


@pytest.mark.parametrize(
    "body",
    [
        {"content": TITLE},
        {"content": "What is 7 * 8?", "metadata": {"task": "title_generation"}},
        {
            "content": "Provide a concise, 5-word-or-less title for the conversation. Only return "
            "the title itself."
        },
    ],
)
def test_what_a_front_end_asks_of_its_own_accord_is_not_voted_on(
    start: Start, body: dict[str, object]
) -> None:
    gateway = start(FakeVLLM(text=lambda i: "Products 🧮"))
    reply = gateway.ask(str(body.pop("content")), **body)
    assert reply.headers["x-ttrl-unvoted"] == "housekeeping"
    assert "ttrl" not in reply.json()
    assert sum(gateway.status()["groups"].values()) == 0


def test_text_in_parts_is_read_as_one_question(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "odd" if i % 4 else "even"))
    parts = [
        {"type": "text", "text": "Is 57 even or odd?"},
        {"type": "text", "text": "Answer with one word."},
    ]
    body = {"model": "tiny", "messages": [{"role": "user", "content": parts}]}
    ttrl = gateway.http.post("/v1/chat/completions", json=body).json()["ttrl"]
    assert (ttrl["answer"], ttrl["train"]) == ("odd", "queued")


def test_the_status_gives_advice_in_words(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "The answer is 7."))
    assert gateway.status()["advice"] == "no question has been asked yet"
    gateway.ask(temperature=0)
    assert (
        gateway.status()["advice"]
        == "1 of 1 completions were not voted on: temperature 0 asks for one greedy answer"
    )
    for _ in range(3):
        gateway.ask()
    assert gateway.status()["advice"].startswith(
        "3 of 3 groups unanimous: all samples that train earn the same"
    )


def test_there_is_no_advice_where_groups_are_learned_from(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "7" if i % 3 else "9"))
    gateway.ask()
    assert gateway.status()["advice"] is None


async def test_a_line_a_minute_says_what_was_asked_and_nothing_where_nothing_was() -> None:
    async def more() -> dict[str, object]:
        return {"served": "tiny@v3"}

    with structlog.testing.capture_logs() as logged:
        task = asyncio.create_task(summary.every_minute(more, every_s=0.05))
        await asyncio.sleep(0.12)
        assert logged == []
        metrics.QUESTIONS.labels("answered").inc(3)
        metrics.GROUPS.labels("queued").inc()
        metrics.GROUPS.labels("unanimous").inc(2)
        metrics.UNVOTED.labels("tools").inc()
        await asyncio.sleep(0.12)
        task.cancel()
    assert len(logged) == 1
    said = {
        "asked": 4,
        "voted": 3,
        "unvoted": {"tools": 1},
        "queued": 1,
        "refused": {"unanimous": 2},
    }
    assert logged[0] == {"event": "traffic", "log_level": "info", "served": "tiny@v3", **said}
