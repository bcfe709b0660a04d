"""Why nothing was voted on or learned from: said to the client, in the log, and to whoever asks
for the status."""

from __future__ import annotations

import asyncio

import pytest
import structlog.testing

from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import FakeVLLM
from ttrl_server.telemetry import metrics, summary

TITLE = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Chat History:
<chat_history>
USER: What is 7 * 8?
</chat_history>"""


@pytest.fixture(scope="module")
def shared(start_one: Start) -> Gateway:
    return start_one(FakeVLLM(text=lambda i: "Products 🧮"))


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
    gateway: Gateway, body: dict[str, object]
) -> None:
    content = str(body.pop("content"))
    reply = gateway.ask(content, **body)
    assert reply.headers["x-ttrl-unvoted"] == "housekeeping"
    assert "ttrl" not in reply.json()
    assert sum(gateway.status()["groups"].values()) == 0


def test_text_in_parts_is_read_as_one_question(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "odd" if i % 4 else "even"))
    said = ["Is 57 even or odd?", "Answer with one word."]
    parts = [{"type": "text", "text": text} for text in said]
    evidence = gateway.evidence(messages=[{"role": "user", "content": parts}])
    assert (evidence["answer"], evidence["train"]) == ("odd", "queued")


def test_a_unanimous_group_and_the_status_say_that_there_is_nothing_to_learn(start: Start) -> None:
    gateway = start(FakeVLLM(text=lambda i: "The answer is 7."))
    assert gateway.status()["advice"] == "no question has been asked yet"
    gateway.ask(temperature=0)
    greedy = "1 of 1 completions were not voted on: temperature 0"
    assert gateway.status()["advice"].startswith(greedy)
    for _ in range(3):
        reply = gateway.ask()
        assert reply.json()["ttrl"]["train"] == reply.headers["x-ttrl-train"] == "unanimous"
        assert "agrees with itself" in reply.json()["ttrl"]["why"]
        assert "x-ttrl-unvoted" not in reply.headers
    unanimous = "3 of 3 groups unanimous: all samples that train earn the same"
    assert gateway.status()["advice"].startswith(unanimous)


def test_there_is_no_advice_where_groups_are_learned_from(start: Start) -> None:
    gateway = start()
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
    asked = {"asked": 4, "voted": 3, "unvoted": {"tools": 1}}
    groups = {"queued": 1, "refused": {"unanimous": 2}}
    about = {"event": "traffic", "log_level": "info", "served": "tiny@v3"}
    assert logged[0] == about | asked | groups
