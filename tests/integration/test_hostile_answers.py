"""Model text meant to hang, burst or break out: each such answer counts as it is spelt, and
nothing else notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import FakeVLLM

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
HARMLESS = [r"Hence \boxed{\frac{1}{\sqrt{2}}}", r"\boxed{\frac{\sqrt2}{2}}", r"\boxed{3}"]


def said(i: int) -> str:
    """64 monsters, and then what people say."""
    return MONSTERS[i % len(MONSTERS)](i) if i < 64 else HARMLESS[i % 3]


def evidence(gateway: Gateway, content: str) -> dict[str, Any]:
    return gateway.evidence(content, ttrl={"samples": 64, "stop": "none"})


def test_64_monsters_in_one_group_are_answered_and_the_next_question_is_untouched(
    start: Start,
) -> None:
    gateway = start(FakeVLLM(text=said), vote={"samples": 64}, train={"samples": 32})
    hostile = evidence(gateway, "What now?")
    assert hostile["votes"] == 64
    assert hostile["train"] != "queued" or hostile["stopped"] == "full"
    after = evidence(gateway, "And now?")
    assert (after["stopped"], after["train"]) == ("full", "queued")
    assert sorted(after["counts"].values()) == [21, 43]
    assert gateway.http.get("/ready").status_code == 200


def test_model_text_is_never_executed(start: Start, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    spells = [
        f"__import__('os').system('touch {marker}')",
        f"exec(\"open('{marker}','w')\")",
        rf"\sqrt{{open('{marker}','w')}}",
    ]
    gateway = start(FakeVLLM(text=lambda i: rf"\boxed{{{spells[i % 3]}}}"))
    assert sum(evidence(gateway, "What?")["counts"].values()) == 64
    assert not marker.exists()


def test_a_hostile_group_does_not_hold_up_an_ordinary_one(start: Start) -> None:
    gateway = start(FakeVLLM(text=said), vote={"samples": 64}, train={"samples": 32})
    asking = [gateway.aside(gateway.ask, f"{i}", ttrl={"samples": 64}) for i in (1, 2)]
    assert [reply.result().status_code for reply in asking] == [200, 200]
