"""The greedy evaluation of docs/recipes.md through the gateway, and the same one through plain
vLLM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import recipes
from tests.e2e.conftest import NAME, plain_vllm, serving

BASE = f"{NAME}@base"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_greedy_score_through_the_gateway_is_plain_vllms(tmp_path: Path) -> None:
    with serving(tmp_path, {"--train.enabled": False}) as server:
        ours = evaluated(f"http://127.0.0.1:{server.port}", tmp_path / "ours")
    with plain_vllm(tmp_path / "vllm.log", "--served-model-name", BASE, "--enforce-eager") as url:
        theirs = evaluated(url, tmp_path / "theirs")
    assert ours == theirs
    assert len(ours[1]) == 16


def evaluated(url: str, folder: Path) -> tuple[float, dict[str, str]]:
    """The score that is printed, and the reply to each question; one at a time, so that batches
    are the same."""
    changes = {recipes.ADDRESS: url, recipes.MODEL: BASE, "num_concurrent=8": "num_concurrent=1"}
    keep = "--log_samples --output_path samples"
    printed = recipes.run("lm-eval, greedy", folder, changes, more=keep)
    (log,) = folder.glob("samples/**/samples_answers_*.jsonl")
    samples = map(json.loads, log.read_text().splitlines())
    replies = {sample["doc"]["id"]: sample["resps"][0][0] for sample in samples}
    return recipes.score(printed), replies
