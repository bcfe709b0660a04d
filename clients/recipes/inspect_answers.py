"""Questions with one right answer each, for Inspect: docs/recipes.md."""

from __future__ import annotations

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate
from ttrl_client.datasets import load
from ttrl_client.scoring import expecting, read, same

PRODUCTS = Path(__file__).parent / "products.jsonl"


@scorer(metrics=[accuracy(), stderr()])
def right_answer() -> Scorer:
    """Whether the final answer is the right one, by ttrl-replay's rules."""

    async def score(state: TaskState, target: Target) -> Score:
        reason = "length" if state.output.stop_reason == "max_tokens" else "stop"
        asked = expecting(state.input_text, target.text)
        said = read(state.output.completion, reason, asked).answer
        return Score(value=CORRECT if same(said, target.text, asked) else INCORRECT, answer=said)

    return score


@task
def answers(questions: str = str(PRODUCTS)) -> Task:
    """``-T questions=FILE`` names other questions, by the whole path: Inspect loads a task in
    the task's folder."""
    samples = [
        Sample(id=item.id, input=item.prompt, target=item.answer) for item in load(questions).items
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=right_answer())
