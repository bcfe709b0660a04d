"""The paper's benchmarks: where they are, how they ask, and how it trains on them (docs/method.md,
section 2)."""

from __future__ import annotations

from dataclasses import dataclass

BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class Preset:
    """One benchmark."""

    hub: str
    """Hub id with its split."""
    prompt_field: str
    answer_field: str
    episodes: int
    batch: int
    max_tokens: int
    suffix: str = BOXED


PRESETS = {
    "aime24": Preset("HuggingFaceH4/aime_2024:train", "problem", "answer", 80, 8, 3072),
    "amc": Preset("AI-MO/aimo-validation-amc:train", "problem", "answer", 30, 8, 3072),
    "math500": Preset("HuggingFaceH4/MATH-500:test", "problem", "answer", 10, 32, 3072),
    "gpqa-diamond": Preset(
        "Idavidrein/gpqa/gpqa_diamond:train", "Question", "Correct Answer", 30, 8, 3072, ""
    ),
    "gsm8k": Preset("openai/gsm8k/main:test", "question", "answer", 10, 32, 1024),
}
"""By name. GPQA's and GSM8K's episodes are this project's choice; the paper gives none."""
