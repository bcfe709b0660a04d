"""Model text meant to hang, burst or break out: each such answer counts as it is spelt, and
nothing else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import FakeVLLM

GOOD = r"Hence \boxed{\frac{1}{\sqrt{2}}}"
MONSTERS: list[Callable[[int], str]] = [
    lambda i: rf"\boxed{{{i + 2}^{{5^{{5^{{5^5}}}}}}}}",
    lambda i: r"\boxed{" + r"\frac{x}{" * 60 + str(i) + "}" * 60 + "}",
    lambda i: r"\boxed{" + rf"\sqrt{{x+{i}}}+" * 5_000 + "1}",
    lambda i: "{" * 10_000 + str(i),
    lambda i: rf"\boxed{{(x+{i}+y+z)^{{9999}}}}",
    lambda i: rf"\boxed{{{i}!!!!!!!!}}",
    lambda i: rf"\boxed{{\sum_{{k=1}}^{{10^{{{i}9}}}} \frac{{1}}{{k}}}}",
    lambda i: f"\\boxed{{\x00\u202e{i}\u200f\\sqrt{{{i}}}}}",
]


def ask(gateway: Gateway, content: str) -> dict[str, object]:
    evidence = gateway.ask(content, ttrl={"samples": 64, "stop": "none"}).json()["ttrl"]
    assert isinstance(evidence, dict)
    return evidence


def test_64_monsters_in_one_group_are_answered_and_the_next_question_is_untouched(
    start: Callable[..., Gateway],
) -> None:
    texts = [MONSTERS[i % len(MONSTERS)](i) for i in range(64)]
    fake = FakeVLLM(
        text=lambda i: (
            texts[i] if i < 64 else [GOOD, r"\boxed{\frac{\sqrt2}{2}}", r"\boxed{3}"][i % 3]
        )
    )
    gateway = start(fake, vote={"samples": 64}, train={"samples": 32})
    hostile = ask(gateway, "What now?")
    assert hostile["votes"] == 64
    assert hostile["train"] != "queued" or hostile["stopped"] == "full"
    after = ask(gateway, "And now?")
    assert (after["stopped"], after["train"]) == ("full", "queued")
    assert sorted(after["counts"].values()) == [21, 43]  # type: ignore[attr-defined]
    assert gateway.http.get("/ready").status_code == 200


def test_model_text_is_never_executed(start: Callable[..., Gateway], tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    spells = [
        f"__import__('os').system('touch {marker}')",
        f"exec(\"open('{marker}','w')\")",
        rf"\sqrt{{open('{marker}','w')}}",
    ]
    gateway = start(FakeVLLM(text=lambda i: rf"\boxed{{{spells[i % 3]}}}"))
    assert sum(ask(gateway, "What?")["counts"].values()) == 64  # type: ignore[attr-defined]
    assert not marker.exists()


async def test_a_hostile_group_does_not_hold_up_an_ordinary_one(
    start: Callable[..., Gateway],
) -> None:
    fake = FakeVLLM(
        text=lambda i: (
            MONSTERS[i % 8](i) if i < 64 else r"\boxed{\sqrt{8}}" if i % 3 else r"\boxed{2\sqrt{2}}"
        )
    )
    gateway = start(fake, vote={"samples": 64}, train={"samples": 32})
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        bodies = [
            {
                "model": "tiny",
                "messages": [{"role": "user", "content": f"{i}"}],
                "ttrl": {"samples": 64},
            }
            for i in (1, 2)
        ]
        replies = [
            asyncio.create_task(http.post("/v1/chat/completions", json=body)) for body in bodies
        ]
        assert [reply.status_code for reply in await asyncio.gather(*replies)] == [200, 200]
