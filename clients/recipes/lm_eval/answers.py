"""What answers.yaml asks and how it scores: ttrl-replay's reading of files and of final answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from ttrl_client.datasets import load
from ttrl_client.scoring import expecting, read, same

PRODUCTS = Path(__file__).parents[1] / "products.jsonl"


def dataset(questions: str | Path = PRODUCTS, **_: Any) -> dict[str, Dataset]:
    """The test split; ``--metadata questions=FILE`` chooses it, beside what else the harness
    keeps in its metadata."""
    return {"test": Dataset.from_list([asdict(item) for item in load(questions).items])}


def score(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 for a reply whose final answer is the right one. The harness does not say which replies
    were cut short."""
    asked = expecting(doc["prompt"], doc["answer"])
    said = read(results[0], "stop", asked).answer
    return {"acc": float(same(said, doc["answer"], asked))}
