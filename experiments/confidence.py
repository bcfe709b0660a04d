"""Does it hold on a second model, at every order; and is what is said of an answer true?

    python -m experiments.confidence --models DIR … [--orders 0 1 2 3 4] [--out runs/confidence]

Five kinds of questions are learned together, twelve of each; as many are held out. A run is a
server from nothing, asked the same questions in another order (two episodes in batches of twelve,
the demo's preset with 16 votes); it is kept in ``--out`` and not made again. Before and after,
every question is answered eight times.

    kinds        avg@8 before → after by kind and order; a kind is below its base model where the
                 fall over its 24 questions is more than chance (a permutation test, p < 0.01)
    figures      expected calibration error and area under the curve over all questions: of the
                 share of the votes, the base model's share of the winner, the mean of both, and the
                 confidence, from eight samples each; and of what the server said with its votes
    attractors   what was found, and whether it was one: most of these winners were wrong. Missed is
                 a kind that ends with more echoes, or more of one answer, and fewer right answers

The last line is JSON.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttrl_client.metrics import calibration_error, discrimination, mean, shown

from demo.questions import Record
from experiments.cases import Case, finished, markdown, parser
from experiments.families import family_sets
from experiments.tables import fell
from ttrl_server.answers import asked, echoes, form, keys, same
from ttrl_server.types import Vote
from ttrl_server.voting.confidence import Forms, anchored, key_of
from ttrl_server.voting.tally import vote

KINDS, SIZE, ORDERS = ("capital", "opposite", "larger", "difference", "parity"), 12, 5
MOMENTS = ("before", "after")
STATED = ("share of the votes", "base", "mean of both", "confidence")
VOTED = ("majority_ratio", "confidence")
LEAP = 0.25
"""By which the share of echoes, or of one answer, has grown where a kind was attracted."""
FOUND = re.compile(r"watch\.attractor\s+confirmed=True found=[\"'].*? like '(.*?)' are answered")


@dataclass(frozen=True, slots=True)
class Told:
    """One question at one moment: what was said of its winner, and what is true."""

    kind: str
    question: str
    moment: str
    right: bool
    share_right: float
    winner: str
    echo: bool
    stated: dict[str, float]
    """What is said of the winner, by name."""


def kinds(_order: int) -> dict[str, list[Record]]:
    return family_sets(KINDS, 0, SIZE)


def told(folder: Path) -> list[Told]:
    """The questions of a run that have a winner."""
    sets = {path.stem: path.read_text().splitlines() for path in (folder / "asked").iterdir()}
    given = {(s, q["id"]): q for s, lines in sets.items() for q in map(json.loads, lines)}
    said: dict[str, dict[tuple[str, str], list[str | None]]] = {m: {} for m in MOMENTS}
    for row in map(json.loads, (folder / "rows.jsonl").read_text().splitlines()):
        name, _, moment = row["phase"].rpartition(" ")
        if moment in said and "answers" in row:
            said[moment][name, row["id"]] = row["answers"]
    made = []
    for moment in MOMENTS:
        votes = {at: _vote(answers, given[at]["prompt"]) for at, answers in said[moment].items()}
        forms = Forms()
        for _ in MOMENTS:  # twice: the first questions of a form have its record too
            alike = {at: forms.note(given[at]["prompt"], v.pseudo_label) for at, v in votes.items()}
        for at, counted in votes.items():
            text, answer = given[at]["prompt"], given[at]["answer"]
            if counted.pseudo_label is not None:
                before = said["before"].get(at, [])
                stated = anchored(counted, before, text)
                base = stated.base_ratio
                served = counted.majority_ratio or 0.0
                right = [same(a, answer, asked(text)) for a in counted.answers]
                made.append(
                    Told(
                        kind=given[at]["type"],
                        question=text,
                        moment=moment,
                        right=same(counted.pseudo_label, answer, asked(text)),
                        share_right=sum(right) / len(right),
                        winner=key_of(counted.pseudo_label, text),
                        echo=echoes(counted.pseudo_label, text),
                        stated=dict(
                            zip(
                                STATED,
                                (served, base, (served + base) / 2, stated.confidence(alike[at])),
                                strict=True,
                            )
                        ),
                    )
                )
    return made


def _vote(answers: Sequence[str | None], text: str) -> Vote:
    known = keys({answer for answer in answers if answer is not None}, asked(text))
    labels = [answer and known[answer] for answer in answers]
    return vote(answers, [-1.0] * len(answers), keys=labels)


def as_served(folder: Path) -> list[list[str]]:
    """What the server said with its votes, by episode: rows of error and area."""
    report = json.loads((folder / "report.json").read_text())
    return [
        [folder.name, each["episode"], str(each["votes"])]
        + [f"{each[name]['ece']:.3f}, {shown(each[name]['auc'])}" for name in VOTED]
        for each in report.get("calibration", [])
        if all(each[name] for name in VOTED)
    ]


def figures(runs: dict[str, list[Told]]) -> tuple[list[list[str]], dict[str, float | None]]:
    """Rows of error and area by model, and those of the confidence after learning, over all."""
    everything = [(name.rpartition("_")[0], each) for name, run in runs.items() for each in run]
    models = sorted({name for name, _ in everything})
    rows, last = [], dict[str, float | None]()
    for moment in MOMENTS:
        for model in (*models, "all"):
            chosen = [
                each
                for name, each in everything
                if each.moment == moment and model in (name, "all")
            ]
            right = [each.right for each in chosen]
            cells = []
            for name in STATED:
                stated = [each.stated[name] for each in chosen]
                error, area = calibration_error(stated, right), discrimination(stated, right)
                cells.append(f"{error:.3f}, {shown(area)}")
                last = {"ece": error, "auc": area}
            rows.append([moment, model, str(len(chosen)), shown(mean(map(float, right))), *cells])
    return rows, last


# ---------------------------------------------------------------- kinds and attractors


def shares(run: Iterable[Told], kind: str, moment: str) -> dict[str, Told]:
    return {e.question: e for e in run if e.kind == kind and e.moment == moment}


def is_below(run: Sequence[Told], kind: str) -> bool:
    """Whether the kind's samples are right less often than before, by more than chance."""
    before, after = (shares(run, kind, moment) for moment in MOMENTS)
    return fell(*({q: e.share_right for q, e in each.items()} for each in (before, after)))


def attracted(run: Sequence[Told], kind: str) -> bool:
    """Whether more winners are echoes, or one answer, than before, and fewer are right."""

    def pull(each: list[Told]) -> tuple[float, float, float]:
        most = max(Counter(e.winner for e in each).values(), default=0)
        n = max(1, len(each))
        return sum(e.echo for e in each) / n, most / n, sum(e.share_right for e in each) / n

    then, now = (pull(list(shares(run, kind, moment).values())) for moment in MOMENTS)
    return max(now[0] - then[0], now[1] - then[1]) > LEAP and now[2] < then[2]


def findings(folder: Path, run: Sequence[Told]) -> list[tuple[str, bool]]:
    """Kinds of the attractors that were confirmed, and whether each was one: most votes of its kind
    in the batch before it had a wrong winner."""
    of_form = {form(each.question): each.kind for each in run}
    votes: defaultdict[str, list[bool]] = defaultdict(list)
    for row in map(json.loads, (folder / "rows.jsonl").read_text().splitlines()):
        if row.get("vote"):
            votes[row["id"].rpartition("-")[0]].append(row["right"])
    found = FOUND.findall((folder / "server.log").read_text(errors="replace"))
    told_of = [of_form.get(form(text), "?") for text in found]
    return [(kind, 2 * sum(votes[kind]) < len(votes[kind])) for kind in told_of]


def main() -> None:
    flags = parser("confidence", __doc__)
    flags.add_argument("--models", type=Path, nargs="+", metavar="DIR")
    flags.add_argument("--orders", type=int, nargs="+", default=list(range(ORDERS)), metavar="N")
    options = flags.parse_args()
    runs: dict[str, list[Told]] = {}
    seen: Counter[str] = Counter()
    rows = []
    for order in options.orders:
        for model in options.models or [options.model_dir]:
            options.model_dir, name = model, f"{model.name}_{order}"
            folder = finished(name, Case(sets=kinds, batch=SIZE, seed=order), options)
            run = runs[name] = told(folder)
            confirmed = findings(folder, run)
            seen["attractors_seen"] += sum(was for _, was in confirmed)
            seen["false_findings"] += sum(not was for _, was in confirmed)
            for kind in KINDS:
                below, pulled = is_below(run, kind), attracted(run, kind)
                noticed = [was for of, was in confirmed if of == kind]
                seen["below_base"] += below
                seen["attractors_missed"] += pulled and not noticed
                avg, maj = (
                    [mean(getattr(e, f) for e in shares(run, kind, m).values()) for m in MOMENTS]
                    for f in ("share_right", "right")
                )
                changed = [" → ".join(map(shown, pair)) for pair in (avg, maj)]
                marks = ["below"] * below + ["attracted"] * pulled
                marks += ["noticed" if was else "false finding" for was in noticed]
                rows.append([model.name, str(order), kind, *changed, ", ".join(marks)])
    print(markdown("model | order | kind | avg before → after | maj before → after | marks", rows))
    told_rows, last = figures(runs)
    heads = "when | model | questions | right | " + " | ".join(f"{n}: ECE, AUC" for n in STATED)
    print(f"\n{markdown(heads, told_rows)}\n")
    served = [row for name in runs for row in as_served(options.out / name)]
    print(markdown("run | episode | votes | share: ECE, AUC | confidence as served", served), "\n")
    names = ("below_base", "attractors_seen", "attractors_missed", "false_findings")
    print(json.dumps(last | {name: seen[name] for name in names}))


if __name__ == "__main__":
    main()
