"""What is voted on, and what is learned from, of real requests with the replies of several models.

    python -m benchmarks.votable [--chat FILE --labels FILE --math FILE] [--show open]

``--chat`` and ``--math`` are JSON lines of ``id``, ``question`` and ``responses``, ``--labels`` an
object of ``answer``, ``open`` or ``unclear`` by id. Each request is a group whose first wave is its
replies, judged by the gateway's own code under the default settings. Prints each share with its
count; the last line is JSON: ``{"open_votable", "open_trained", "answer_votable",
"math_votable"}``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.data import DATA
from ttrl_server.learning.admission import admit
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Group, Question, Rollout, Sampling, VoteOptions
from ttrl_server.voting import Ballot, agreement

Outcome = tuple[bool, bool]
"""Whether a group is votable, and whether it would be trained on."""


def outcome(question: str, responses: list[str]) -> Outcome:
    """What the pipeline would decide after a first wave of these replies, all of them finished."""
    ballot = Ballot(question)
    for index, text in enumerate(responses):
        ballot.add(Rollout(index, (0,), (0.0,), text, "stop"))
    if not ballot.votable():
        return False, False
    samples = len(responses)
    asked = Question(
        "q", "", question, "completion", "m", None, Sampling(1.0), VoteOptions(samples)
    )
    vote = ballot.count()
    group = Group("q", (0,), ballot.rollouts, 0, 1.0)
    return True, admit(asked, group, vote, agreement(vote, samples), GuardConfig()).admitted


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    return (
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    )


def _share(outcomes: list[Outcome], place: int) -> float:
    return round(sum(found[place] for found in outcomes) / max(1, len(outcomes)), 4)


def main() -> None:
    """Console script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chat", type=Path, default=DATA / "chat.jsonl")
    parser.add_argument("--labels", type=Path, default=DATA / "chat_labels.json")
    parser.add_argument("--math", type=Path, default=DATA / "math_samples.jsonl")
    parser.add_argument(
        "--show", choices=("open", "answer", "unclear"), help="print what was misjudged of a label"
    )
    options = parser.parse_args()
    labels = json.loads(options.labels.read_text(encoding="utf-8"))
    by_label: dict[str, list[Outcome]] = {"open": [], "answer": [], "unclear": []}
    for row in _lines(options.chat):
        label = labels[row["id"]]
        found = outcome(row["question"], row["responses"])
        by_label[label].append(found)
        if options.show == label and found[0] == (label != "answer"):
            print(
                row["id"],
                "votable" if found[0] else "not votable",
                "trained" if found[1] else "",
                row["question"][:200],
            )
    math = [outcome(row["question"], row["responses"]) for row in _lines(options.math)]
    for label, outcomes in (*by_label.items(), ("mathematics", math)):
        print(
            f"{label}: {len(outcomes)} groups, {_share(outcomes, 0):.1%} votable, "
            f"{_share(outcomes, 1):.1%} trained on"
        )
    print(
        json.dumps(
            {
                "open_votable": _share(by_label["open"], 0),
                "open_trained": _share(by_label["open"], 1),
                "answer_votable": _share(by_label["answer"], 0),
                "math_votable": _share(math, 0),
            }
        )
    )


if __name__ == "__main__":
    main()
