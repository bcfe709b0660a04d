"""The outcome of a replay: report.json for programs, report.md and a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ttrl_client import Unusable
from ttrl_client.journal import Row
from ttrl_client.metrics import SetScore, mean, shown
from ttrl_client.run import FORMAT, Run
from ttrl_client.votes import RATIOS, STATED, by_group, calibration

Report = dict[str, Any]
"""As ``as_dict`` makes it."""
GAINED = ("Δ", "relative", "beyond answering")
RESERVED = frozenset(
    {"format", "model", "settings", "served", "versions_promoted", "questions_answered"}
    | {"requests_failed", "wall_seconds", "history", "evaluations"}
    | {"prequential", "flips", "votes", "calibration"}
)
"""Keys of report.json that no question set may be named after."""


def as_dict(run: Run, rows: list[Row]) -> Report:
    """The report: one entry a set beside the run's own figures. Shares that could not be measured
    are null.

    ``rows`` are the journal's, for what moved question by question.
    """
    k = run.settings.eval_samples
    evaluations: list[Report] = [
        {"moment": e.moment, "step": e.step, "served": e.served}
        | {"sets": {name: _scores(score, k) for name, score in e.scores.items()}}
        for e in run.evaluations
    ]
    before, after = evaluations[0]["sets"], evaluations[-1]["sets"]
    sets = {
        s.name: {"questions": len(s.items), "before": before[s.name], "after": after[s.name]}
        for s in run.sets
    }
    return {
        "format": FORMAT,
        "model": run.settings.model,
        **sets,
        "served": {"before": run.served_before, "after": run.served_after},
        "versions_promoted": run.versions_promoted,
        "questions_answered": run.questions_answered,
        "requests_failed": run.requests_failed,
        "wall_seconds": run.wall_seconds,
        "prequential": prequential(run),
        "flips": {s.name: flips(rows, s.name) for s in run.sets},
        "votes": by_group(rows, {item.id: item.group for item in run.sets[0].items}),
        "calibration": calibration(rows),
        "settings": {n: value for n, value in asdict(run.settings).items() if n != "api_key"},
        "evaluations": evaluations,
        "history": [asdict(record) for record in run.history],
    }


def _scores(score: SetScore, k: int) -> dict[str, Any]:
    names = {"avg": f"avg@{k}", "maj": f"maj@{k}", "passed": f"pass@{k}"}
    rest = asdict(score)
    shares = {name: rest.pop(field) for field, name in names.items()}
    rest["intervals"] = {names[field]: found for field, found in score.intervals.items()}
    return shares | rest


def prequential(run: Run) -> float | None:
    """Share of right answers over the first pass: each was given before anything was learned
    from its question."""
    first = [record for record in run.history if record.episode == 1]
    answered = sum(record.answered for record in first)
    right = sum((record.correct or 0) * record.answered for record in first)
    return right / answered if answered else None


def flips(rows: list[Row], name: str) -> dict[str, int]:
    """How many questions' majorities went from right to wrong, and from wrong to right."""
    was, now = (
        {r["id"]: r["right"] for r in rows if r["phase"] == f"{name} {moment}" and "right" in r}
        for moment in ("before", "after")
    )
    both = was.keys() & now.keys()
    return {
        "right_to_wrong": sum(was[q] and not now[q] for q in both),
        "wrong_to_right": sum(now[q] and not was[q] for q in both),
    }


@contextmanager
def finished(folder: Path) -> Iterator[None]:
    """What is read in it is a part of every finished run; raises Unusable where it is not there."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{folder} holds no finished run ({error})") from error


def read(folder: Path) -> Report:
    """The report of a finished run; raises Unusable."""
    with finished(folder):
        data: Report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        written = data["format"]
    if written != FORMAT:
        other = f"another version of ttrl-replay (format {written}, here {FORMAT})"
        raise Unusable(f"{folder} was written by {other}")
    return data


# ---------------------------------------------------------------- to look at


def set_names(data: Report) -> list[str]:
    """The sets of a report, the trained one first."""
    return [
        name
        for name, value in data.items()
        if isinstance(value, dict) and "questions" in value and "before" in value
    ]


def moments(data: Report) -> tuple[str, ...]:
    """When every set was evaluated for its gain: once where nothing was asked in between."""
    return ("before", "after") if data["history"] else ("before",)


def served(data: Report) -> str:
    """The version at each of the ``moments``."""
    return " → ".join(data["served"][moment] or "-" for moment in moments(data))


def headings(data: Report, key: str) -> list[str]:
    """What one figure is called at each of the ``moments``."""
    when = moments(data)
    return [f"{key} {moment}" for moment in when] if len(when) > 1 else [key]


def change(data: Report, name: str, key: str) -> str:
    """A set's figure before → after, or the one there is."""
    return _arrow(data[name][moment][key] for moment in moments(data))


def markdown(data: Report) -> str:
    """The paper's form: before → after, the gain, and the gain relative to before."""
    k, twice = data["settings"]["eval_samples"], len(moments(data)) > 1
    lines = [f"# {data['model']}", "", f"{served(data)}, {facts(data)}", ""]
    gain, flipped = (GAINED, ["flips to wrong, to right"]) if twice else ((), [])
    lines += _heads("set", "questions", f"avg@{k}", *gain, f"maj@{k}", f"pass@{k}", *flipped)
    for name in set_names(data):
        cells = [name, data[name]["questions"], _with_intervals(data, name, f"avg@{k}")]
        cells += _gain(data, name) if twice else []
        cells += [change(data, name, key) for key in (f"maj@{k}", f"pass@{k}")]
        moved = data["flips"].get(name, {"right_to_wrong": 0, "wrong_to_right": 0})
        cells += [f"{moved['right_to_wrong']}, {moved['wrong_to_right']}"] if twice else []
        lines.append(_line(cells))
    for name in set_names(data):
        if found := levels(data, name):
            lines += ["", f"## {name} by level or subject", ""]
            lines += _heads("", "questions", f"avg@{k}")
            lines += [_line([group, count, _arrow(shares)]) for group, count, shares in found]
    if len(data["votes"]) > 1:
        lines += ["", "## Votes by level or subject", "", *_heads("", "votes", *RATIOS)]
        for group, worth in data["votes"].items():
            lines.append(_line([group, worth["votes"], *(shown(worth[r]) for r in RATIOS)]))
    if told := data.get("calibration"):
        lines += ["", "## How sure, and how right", ""]
        lines += _heads("episode", "votes", *(f"{f}: mean, ECE, AUC" for f in STATED))
        for each in told:
            figures = [each[figure] or {} for figure in STATED]
            cells = [", ".join(shown(f.get(k)) for k in ("mean", "ece", "auc")) for f in figures]
            lines.append(_line([each["episode"], each["votes"], *cells]))
    if data["history"]:
        lines += ["", "## While it learned", "", _course(data), ""]
    return "\n".join(lines) + "\n"


def _heads(*heads: str) -> list[str]:
    return [_line(heads), "|---" * len(heads) + "|"]


def _line(cells: Iterable[object]) -> str:
    return " ".join(["|", *(f"{cell} |".lstrip() for cell in cells)])


def levels(data: Report, name: str) -> list[tuple[str, int, list[float | None]]]:
    """Level or subject, questions, avg@k at each of the ``moments``, of a set that has several."""
    groups = [data[name][moment]["groups"] for moment in moments(data)]
    if len(groups[0]) < 2:
        return []
    return [
        (group, count, [g.get(group, (0, None))[1] for g in groups])
        for group, (count, _) in groups[0].items()
    ]


def _course(data: Report) -> str:
    history = data["history"]
    parts = [
        f"{name} {shown(mean(r[name] for r in history if r.get(name) is not None))}"
        for name in (*RATIOS, "entropy", "length")
    ]
    tokens = sum(record["sampled_tokens"] for record in history)
    said = f"Means over {len(history)} batches: {', '.join(parts)}; {tokens} tokens sampled."
    if data["prequential"] is not None:
        said += f" Prequential accuracy {shown(data['prequential'])}."
    return said


def table(data: Report) -> Table:
    """before → after of every set."""
    k, twice = data["settings"]["eval_samples"], len(moments(data)) > 1
    # As Text: names are no markup.
    result = Table(title=Text(f"{data['model']}: {served(data)}"))
    result.add_column("set")
    gained = GAINED if twice else ()
    for heading in ("questions", f"avg@{k}", *gained, f"maj@{k}", "failed"):
        result.add_column(heading, justify="right")
    for name in set_names(data):
        avg, maj = (change(data, name, f"{kind}@{k}") for kind in ("avg", "maj"))
        failed = str(sum(data[name][moment]["failed"] for moment in moments(data)))
        gain = _gain(data, name) if twice else ()
        result.add_row(Text(name), str(data[name]["questions"]), avg, *gain, maj, failed)
    result.caption = facts(data)
    return result


def facts(data: Report) -> str:
    """The run in one line."""
    return (
        f"{data['versions_promoted']} versions promoted, {data['questions_answered']} questions "
        f"answered, {data['requests_failed']} requests failed, {data['wall_seconds']:.0f} s"
    )


def _with_intervals(data: Report, name: str, key: str) -> str:
    sides = []
    for side in (data[name][moment] for moment in moments(data)):
        interval = side["intervals"].get(key)
        bounds = f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else ""
        sides.append(shown(side[key]) + bounds)
    return " → ".join(sides)


def _gain(data: Report, name: str) -> tuple[str, str, str]:
    """Of avg@k: Δ, relative to before, and the part of Δ that is ``beyond_answering``."""
    key = f"avg@{data['settings']['eval_samples']}"
    old, new = (data[name][moment][key] for moment in ("before", "after"))
    if old is None or new is None:
        return "-", "-", "-"
    beyond = beyond_answering(data[name]["before"], data[name]["after"], key)
    relative = f"{(new - old) / old:+.0%}" if old else "-"
    return f"{new - old:+.3f}", relative, "-" if beyond is None else f"{beyond:+.3f}"


def beyond_answering(before: Report, after: Report, key: str) -> float | None:
    """What avg@k (``key``) gained beyond learning to answer at all.

    That alone would take it to avg · (share of samples with an answer after / before): as many of
    them right as before. None where nothing was answered before, or a report has no such share.
    """
    shares = before.get("extractable"), after.get("extractable")
    if not shares[0] or shares[1] is None:
        return None
    return float(after[key] - before[key] * shares[1] / shares[0])


def _arrow(shares: Iterable[float | None]) -> str:
    return " → ".join(map(shown, shares))
