"""What is voted on, and what is learned from, of real requests with the replies of several models.

    python -m benchmarks.votable [--chat FILE --labels FILE --math FILE] [--show open]

``--chat`` and ``--math`` are JSON lines of ``id``, ``question`` and ``responses``, ``--labels`` an
object of ``answer``, ``open`` or ``unclear`` by id. Each request is a group whose first wave is its
replies, judged by the gateway's own code under the default settings. Prints each share with its
count; the last line is JSON: ``{"open_votable", "open_trained", "answer_votable",
"math_votable"}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import argument_parser
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
    samples, sampling = len(responses), Sampling(1.0)
    asked = Question("q", "", question, "completion", "m", None, sampling, VoteOptions(samples))
    vote = ballot.count()
    group = Group("q", (0,), ballot.rollouts, 0, 1.0)
    return True, admit(asked, group, vote, agreement(vote, samples), GuardConfig()).admitted


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return (json.loads(line) for line in lines if line.strip())


def _shares(outcomes: list[Outcome]) -> list[float]:
    """Of the votable groups, and of those that would be trained on."""
    return [round(sum(each) / len(outcomes), 4) for each in zip(*outcomes, strict=True)] or [
        0.0,
        0.0,
    ]


def main() -> None:
    """Console script."""
    parser = argument_parser(__doc__)
    parser.add_argument("--chat", type=Path, default=DATA / "chat.jsonl")
    parser.add_argument("--labels", type=Path, default=DATA / "chat_labels.json")
    parser.add_argument("--math", type=Path, default=DATA / "math_samples.jsonl")
    by_label: dict[str, list[Outcome]] = {"open": [], "answer": [], "unclear": []}
    about = "print what was misjudged of a label"
    parser.add_argument("--show", choices=list(by_label), help=about)
    options = parser.parse_args()
    labels = json.loads(options.labels.read_text(encoding="utf-8"))
    for row in _lines(options.chat):
        label = labels[row["id"]]
        votable, trained = outcome(row["question"], row["responses"])
        by_label[label].append((votable, trained))
        if options.show == label and votable == (label != "answer"):
            verdict = "votable" if votable else "not votable"
            print(row["id"], verdict, "trained" if trained else "", row["question"][:200])
    math = [outcome(row["question"], row["responses"]) for row in _lines(options.math)]
    for label, outcomes in (*by_label.items(), ("mathematics", math)):
        voted, learned = _shares(outcomes)
        print(f"{label}: {len(outcomes)} groups, {voted:.1%} votable, {learned:.1%} trained on")
    open_votable, open_trained = _shares(by_label["open"])
    report = {
        "open_votable": open_votable,
        "open_trained": open_trained,
        "answer_votable": _shares(by_label["answer"])[0],
        "math_votable": _shares(math)[0],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
