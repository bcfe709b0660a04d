"""What learning costs the answers given meanwhile: questions with and without a trainer.

This is rule 6 of docs/design.md.

    python -m benchmarks.yielding [--passes 2] [--model-dir .models/SmolLM2-135M-Instruct]

Each way is a server from nothing on the demo's preset. The demo's 32 products are asked in batches
of 8 without waiting for the trainer, so that steps fall among the answers; guards are off, so that
every way trains on what it can.

    off       no trainer
    idle      train.when idle: a step starts in a moment without samples, and no later than
              train.patience_s
    always    train.when always: threads of both wait asleep (docs/decisions.md)

``ratio`` is the time of a batch of answers beside ``off``, the median over the batches. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.gateway import UNGUARDED, replayed
from demo import questions

WAYS: dict[str, dict[str, object]] = {
    "off": {"--train.enabled": False},
    "idle": {"--train.when": "idle"} | UNGUARDED,
    "always": {"--train.when": "always"} | UNGUARDED,
}


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.yielding", description=about)
    parser.add_argument("--passes", type=int, default=2, help="over the 32 questions (default 2)")
    parser.add_argument("--model-dir", type=Path, default=Path(".models/SmolLM2-135M-Instruct"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/yielding"))
    options = parser.parse_args()
    seconds, promoted = {}, {}
    for name, flags in WAYS.items():
        folder = (options.out / name).absolute()
        sets = questions.write_sets(questions.products(), folder / "asked")
        trained = sets[questions.TRAINED_NAME]
        settings = {"episodes": options.passes, "eval_samples": 2, "wait": False}
        run = replayed(options.model_dir.absolute(), folder, flags, trained, [], **settings)
        seconds[name] = [batch.seconds for batch in run.history]
        promoted[name] = run.versions_promoted
    medians = {name: statistics.median(batches) for name, batches in seconds.items()}
    ratios = {name: round(median / medians["off"], 3) for name, median in medians.items()}
    print("| way | seconds a batch: median, most | ratio | versions |\n|---|---|---|---|")
    for name, batches in seconds.items():
        took = f"{medians[name]:.1f}, {max(batches):.1f}"
        print(f"| {name} | {took} | {ratios[name]} | {promoted[name]} |")
    print(json.dumps({"ratio": ratios, "promoted": promoted}))


if __name__ == "__main__":
    main()
