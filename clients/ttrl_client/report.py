"""The outcome of a replay: a table for the eye, report.json for programs, report.md for a page
of notes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ttrl_client.journal import write_whole
from ttrl_client.metrics import SetScore, mean, shown
from ttrl_client.run import FORMAT, Run
from ttrl_client.votes import RATIOS, by_group

RESERVED = frozenset(
    {
        "format",
        "model",
        "settings",
        "served",
        "versions_promoted",
        "questions_answered",
        "requests_failed",
    }
    | {"wall_seconds", "history", "evaluations", "prequential", "flips", "votes"}
)
"""Keys of report.json that no question set may be named after."""


class BadFolder(ValueError):
    """A run's folder that cannot be used as asked; one line."""


def as_dict(run: Run, rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The report: one entry a set beside the run's own figures. Shares that could not be measured
    are null.

    ``rows`` are the journal's, for what moved question by question.
    """
    k = run.settings.eval_samples
    sets = {
        s.name: {
            "questions": len(s.items),
            "before": _scores(run.before[s.name], k),
            "after": _scores(run.after[s.name], k),
        }
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
        "flips": {s.name: flips(rows or [], s.name) for s in run.sets},
        "votes": by_group(rows or [], {item.id: item.group for item in run.sets[0].items}),
        "settings": {n: value for n, value in asdict(run.settings).items() if n != "api_key"},
        "evaluations": [
            {
                "moment": e.moment,
                "step": e.step,
                "served": e.served,
                "sets": {name: _scores(score, k) for name, score in e.scores.items()},
            }
            for e in run.evaluations
        ],
        "history": [asdict(record) for record in run.history],
    }


def prequential(run: Run) -> float | None:
    """Share of right answers over the first pass: each was given before anything was learned
    from its question."""
    first = [record for record in run.history if record.episode == 1 and record.correct is not None]
    answered = sum(record.answered for record in first)
    return (
        sum((record.correct or 0) * record.answered for record in first) / answered
        if answered
        else None
    )


def flips(rows: list[dict[str, Any]], name: str) -> dict[str, int]:
    """How many questions' majorities went from right to wrong, and from wrong to right."""
    was = {
        row["id"]: row["right"]
        for row in rows
        if row["phase"] == f"{name} before" and "right" in row
    }
    now = {
        row["id"]: row["right"]
        for row in rows
        if row["phase"] == f"{name} after" and "right" in row
    }
    both = was.keys() & now.keys()
    return {
        "right_to_wrong": sum(was[q] and not now[q] for q in both),
        "wrong_to_right": sum(now[q] and not was[q] for q in both),
    }


def write(data: dict[str, Any], path: Path) -> None:
    write_whole(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def read(folder: Path) -> dict[str, Any]:
    """The report of a finished run; raises BadFolder."""
    try:
        data: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        written = data["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFolder(f"{folder} holds no finished run ({error})") from error
    if written != FORMAT:
        raise BadFolder(
            f"{folder} was written by another version of ttrl-replay (format {written}, here "
            f"{FORMAT})"
        )
    return data


# ---------------------------------------------------------------- to look at


def set_names(data: dict[str, Any]) -> list[str]:
    """The sets of a report, the trained one first."""
    return [
        name
        for name, value in data.items()
        if isinstance(value, dict) and "questions" in value and "before" in value
    ]


def moments(data: dict[str, Any]) -> tuple[str, ...]:
    """When every set was evaluated for its gain: once where nothing was asked in between."""
    return ("before", "after") if data["history"] else ("before",)


def served(data: dict[str, Any]) -> str:
    """The version at each of the ``moments``."""
    return " → ".join(data["served"][moment] or "-" for moment in moments(data))


def headings(data: dict[str, Any], key: str) -> list[str]:
    """What one figure is called at each of the ``moments``."""
    when = moments(data)
    return [f"{key} {moment}" for moment in when] if len(when) > 1 else [key]


def change(data: dict[str, Any], name: str, key: str) -> str:
    """A set's figure before → after, or the one there is."""
    return _arrow(data[name][moment][key] for moment in moments(data))


def markdown(data: dict[str, Any]) -> str:
    """The paper's form: before → after, the gain, and the gain relative to before."""
    k, twice = data["settings"]["eval_samples"], len(moments(data)) > 1
    lines = [f"# {data['model']}", "", f"{served(data)}, {facts(data)}", ""]
    gain, flipped = (["Δ", "relative"], ["flips to wrong, to right"]) if twice else ([], [])
    heads = ["set", "questions", f"avg@{k}", *gain, f"maj@{k}", f"pass@{k}", *flipped]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in set_names(data):
        cells = [name, str(data[name]["questions"]), _with_intervals(data, name, f"avg@{k}")]
        cells += _gain(data, name) if twice else []
        cells += [change(data, name, key) for key in (f"maj@{k}", f"pass@{k}")]
        moved = data["flips"].get(name, {"right_to_wrong": 0, "wrong_to_right": 0})
        cells += [f"{moved['right_to_wrong']}, {moved['wrong_to_right']}"] if twice else []
        lines.append("| " + " | ".join(cells) + " |")
    for name in set_names(data):
        if found := levels(data, name):
            lines += [
                "",
                f"## {name} by level or subject",
                "",
                f"| | questions | avg@{k} |",
                "|---|---|---|",
            ]
            lines += [f"| {group} | {count} | {_arrow(shares)} |" for group, count, shares in found]
    if len(data["votes"]) > 1:
        lines += [
            "",
            "## Votes by level or subject",
            "",
            "| | votes | " + " | ".join(RATIOS) + " |",
            "|---" * 6 + "|",
        ]
        lines += [
            f"| {group} | {worth['votes']} | "
            + " | ".join(shown(worth[ratio]) for ratio in RATIOS)
            + " |"
            for group, worth in data["votes"].items()
        ]
    if data["history"]:
        lines += ["", "## While it learned", "", _course(data), ""]
    return "\n".join(lines) + "\n"


def levels(data: dict[str, Any], name: str) -> list[tuple[str, int, list[float | None]]]:
    """Level or subject, questions, avg@k at each of the ``moments``, of a set that has several."""
    groups = [data[name][moment]["groups"] for moment in moments(data)]
    if len(groups[0]) < 2:
        return []
    return [
        (group, count, [g.get(group, (0, None))[1] for g in groups])
        for group, (count, _) in groups[0].items()
    ]


def _course(data: dict[str, Any]) -> str:
    history = data["history"]
    parts = [
        f"{name} {shown(mean(r[name] for r in history if r.get(name) is not None))}"
        for name in (*RATIOS, "entropy", "length")
    ]
    tokens = sum(record["sampled_tokens"] for record in history)
    said = f"Means over {len(history)} batches: {', '.join(parts)}; {tokens} tokens sampled."
    return said + (
        f" Prequential accuracy {shown(data['prequential'])}."
        if data["prequential"] is not None
        else ""
    )


def table(data: dict[str, Any]) -> Table:
    """before → after of every set."""
    k, twice = data["settings"]["eval_samples"], len(moments(data)) > 1
    # As Text: names are no markup.
    result = Table(title=Text(f"{data['model']}: {served(data)}"))
    result.add_column("set")
    for heading in (
        "questions",
        f"avg@{k}",
        *(("Δ", "relative") if twice else ()),
        f"maj@{k}",
        "failed",
    ):
        result.add_column(heading, justify="right")
    for name in set_names(data):
        avg, maj = (change(data, name, f"{kind}@{k}") for kind in ("avg", "maj"))
        failed = str(sum(data[name][moment]["failed"] for moment in moments(data)))
        gain = _gain(data, name) if twice else ()
        result.add_row(Text(name), str(data[name]["questions"]), avg, *gain, maj, failed)
    result.caption = facts(data)
    return result


def facts(data: dict[str, Any]) -> str:
    """The run in one line."""
    return (
        f"{data['versions_promoted']} versions promoted, {data['questions_answered']} questions "
        f"answered, {data['requests_failed']} requests failed, {data['wall_seconds']:.0f} s"
    )


def _scores(score: SetScore, k: int) -> dict[str, Any]:
    names = {"avg": f"avg@{k}", "maj": f"maj@{k}", "passed": f"pass@{k}"}
    return {
        f"avg@{k}": score.avg,
        f"maj@{k}": score.maj,
        f"pass@{k}": score.passed,
        "answered": score.answered,
        "failed": score.failed,
        "intervals": {names[name]: list(interval) for name, interval in score.intervals.items()},
        "length": score.length,
        "tokens": score.tokens,
        "seconds": score.seconds,
        "groups": {group: list(value) for group, value in score.groups.items()},
    }


def _with_intervals(data: dict[str, Any], name: str, key: str) -> str:
    sides = []
    for side in (data[name][moment] for moment in moments(data)):
        interval = side["intervals"].get(key)
        bounds = f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else ""
        sides.append(shown(side[key]) + bounds)
    return " → ".join(sides)


def _gain(data: dict[str, Any], name: str) -> tuple[str, str]:
    """Of avg@k: Δ, and relative to before."""
    old, new = (
        data[name][moment][f"avg@{data['settings']['eval_samples']}"]
        for moment in ("before", "after")
    )
    if old is None or new is None:
        return "-", "-"
    return f"{new - old:+.3f}", f"{(new - old) / old:+.0%}" if old else "-"


def _arrow(shares: Iterable[float | None]) -> str:
    return " → ".join(map(shown, shares))
