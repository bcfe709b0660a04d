"""report.html: one file, without scripts. What a model or a data set said is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from ttrl_client.datasets import Item, QuestionSet
from ttrl_client.journal import Row
from ttrl_client.metrics import clusters, shown
from ttrl_client.report import Report, facts, headings, levels, moments, served, set_names
from ttrl_client.scoring import same
from ttrl_client.votes import RATIOS

MOST_QUESTIONS = 500
"""Of a set that are listed; the rest are in rows.jsonl."""

BEGINNING = 80
"""Characters of a question that are shown before it is opened."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 1080px; }
body { margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.quiet { color: #66727f; } table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid #e4e7eb; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: #52606d; }
.up { color: #23803f; } .down { color: #b3362b; } svg { max-width: 100%; height: auto; }
details { border-bottom: 1px solid #e4e7eb; padding: .4rem 0; } summary { cursor: pointer; }
pre { white-space: pre-wrap; background: #f5f7fa; padding: .6rem .8rem; border-radius: 4px; }
.bar { display: inline-block; height: .7em; background: #b8bec7; }
.bar { margin-right: .5em; border-radius: 2px; } .right .bar { background: #3a8f5c; }
.clusters { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem; }
.mark { display: inline-block; width: 1.2em; }
"""


def html(data: Report, sets: Sequence[QuestionSet], rows: list[Row], svg: str | None) -> str:
    """The whole page; ``svg`` is the picture of the course, where it could be drawn."""
    course = "While it was asked" if data["settings"]["mode"] == "frozen" else "While it learned"
    settings = [[escape(name), escape(str(value))] for name, value in data["settings"].items()]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<link rel='icon' href='data:,'>",
        f"<title>{escape(data['model'])}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(data['model'])}</h1>",
        f"<p class='quiet'>{escape(served(data))} · {escape(facts(data))}</p>",
        _gains(data),
        f"<h2>{course}</h2>" if svg and data["history"] else "",
        svg or "",
        _levels(data),
        "<details><summary>Settings</summary>",
        _table(("setting", "value"), settings),
        "</details>",
        *(_questions(s, rows, moments(data)) for s in sets),
        "</body></html>",
    ]
    return "".join(parts)


def _gains(data: Report) -> str:
    k, rows = data["settings"]["eval_samples"], []
    avg, maj = (headings(data, f"{kind}@{k}") for kind in ("avg", "maj"))
    for name in set_names(data):
        sides = [data[name][moment] for moment in moments(data)]
        cells = [escape(name), str(data[name]["questions"])]
        cells += [_share(side, f"avg@{k}") for side in sides]
        cells += _gain([side[f"avg@{k}"] for side in sides])
        cells += [_share(side, f"maj@{k}") for side in sides]
        rows.append(cells)
    return _table(["set", "questions", *avg, *(["gain"] if len(avg) > 1 else []), *maj], rows)


def _share(side: dict[str, Any], key: str) -> str:
    if side[key] is None:
        return "-"
    share = f"{side[key]:.3f}"
    if interval := side["intervals"].get(key):
        share += f" <span class='quiet'>({interval[0]:.2f}–{interval[1]:.2f})</span>"
    return share


def _gain(shares: list[float | None]) -> list[str]:
    """The cell of a gain; none where there is one share only."""
    if len(shares) < 2:
        return []
    old, new = shares
    if old is None or new is None:
        return ["-"]
    return [f"<span class='{'up' if new >= old else 'down'}'>{new - old:+.3f}</span>"]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _levels(data: Report) -> str:
    """By level or subject: what every set gained, and what votes were worth on the first."""
    parts, avg = [], headings(data, f"avg@{data['settings']['eval_samples']}")
    heads = ["", "questions", *avg, *(["gain"] if len(avg) > 1 else [])]
    for name in set_names(data):
        if found := levels(data, name):
            rows = [
                [escape(group), str(count), *map(shown, shares), *_gain(shares)]
                for group, count, shares in found
            ]
            parts.append(f"<h2>{escape(name)} by level or subject</h2>{_table(heads, rows)}")
    if len(data["votes"]) > 1:
        rows = [
            [escape(group), str(worth["votes"]), *(shown(worth[ratio]) for ratio in RATIOS)]
            for group, worth in data["votes"].items()
        ]
        parts.append(f"<h2>Votes by level or subject</h2>{_table(('', 'votes', *RATIOS), rows)}")
    return "".join(parts)


# ---------------------------------------------------------------- questions


def _questions(questions: QuestionSet, rows: list[Row], when: Sequence[str]) -> str:
    said = {(row["phase"], row["id"]): row for row in rows}
    shown = questions.items[:MOST_QUESTIONS]
    parts = [f"<h2>{escape(questions.name)}: {len(questions.items)} questions</h2>"]
    if len(shown) < len(questions.items):
        parts.append(f"<p class='quiet'>The first {len(shown)}; all of them are in rows.jsonl.</p>")
    for item in shown:
        marks = answers = ""
        for moment in when:
            row = said.get((f"{questions.name} {moment}", item.id), {})
            mark = "·"
            if row and "error" not in row:
                right = row.get("right")
                mark = "<span class='up'>✓</span>" if right else "<span class='down'>✗</span>"
            marks += f"<span class='mark'>{mark}</span>"
            label = moment if len(when) > 1 else "answers"
            answers += f"<div><b>{label}</b>{_clusters(row, item)}</div>"
        parts.append(
            f"<details><summary>{marks}{escape(item.id)} "
            f"<span class='quiet'>{escape(item.prompt[:BEGINNING])}</span></summary>"
            f"<pre>{escape(item.prompt)}</pre><p>Answer: <b>{escape(item.answer)}</b></p>"
            f"<div class='clusters'>{answers}</div></details>"
        )
    return "".join(parts)


def _clusters(row: Row, item: Item) -> str:
    if "error" in row:
        return f"<p class='down'>{escape(str(row['error']))}</p>"
    answers = row.get("answers") or []
    missing = [(None, count)] if (count := answers.count(None)) else []
    lines = []
    for answer, count in [*clusters(answers, item.asked), *missing]:
        right = " class='right'" if same(answer, item.answer, item.asked) else ""
        bar = f"<span class='bar' style='width:{8 * count / max(1, len(answers)):.2f}em'></span>"
        label = "<i>no answer</i>" if answer is None else escape(str(answer)[:200])
        lines.append(f"<div{right}>{bar}{count} × {label}</div>")
    return "".join(lines) or "<p class='quiet'>not asked</p>"
