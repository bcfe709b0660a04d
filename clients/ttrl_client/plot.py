"""The pictures: what every set gained, accuracy against steps, and how votes and labels moved
meanwhile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ttrl_client.report import headings, moments, set_names

BEFORE, AFTER = "#b8bec7", "#2f6fb2"
PSEUDO, TRUE, LABEL, REWARD = "#d9822b", "#3a8f5c", "#7a5195", "#c2452d"
Corner = Literal["upper left", "best"]
SETS = ("#2f6fb2", "#d9822b", "#3a8f5c", "#7a5195", "#c2452d", "#557a95")


Report = dict[str, Any]
"""As ``report.as_dict`` makes it."""
Batches = list[dict[str, Any]]
"""A report's history."""


def write(data: Report, path: Path, oracle: dict[str, float] | None = None) -> None:
    """learning.png; ``oracle`` are avg@k of a run on true labels, drawn as lines."""
    figure(data, oracle).savefig(path, dpi=110)


def svg(data: Report, oracle: dict[str, float] | None = None) -> str:
    """The same as an <svg> element for a page."""
    staged = io.StringIO()
    figure(data, oracle).savefig(staged, format="svg")
    text = staged.getvalue()
    return text[text.index("<svg") :]


def figure(data: Report, oracle: dict[str, float] | None = None) -> Figure:
    """Four panels; one where nothing was asked between evaluations."""
    # A figure of its own, without pyplot: no display is looked for and no global state is left
    # behind.
    made = Figure(figsize=(12, 8) if data["history"] else (6, 4), layout="constrained")
    FigureCanvasAgg(made)
    made.suptitle(_literal(data["model"]))
    if not data["history"]:
        _gains(made.subplots(), data)
        return made
    (gains, steps), (course, quality) = made.subplots(2, 2)
    _gains(gains, data)
    _steps(steps, data, oracle or {})
    _course(course, data["history"], data["served"]["before"])
    # How right the labels were, and the rewards made from them.
    history, batches = data["history"], list(range(1, len(data["history"]) + 1))
    _line(quality, batches, [r["label_accuracy"] for r in history], LABEL, "label accuracy")
    _line(quality, batches, [r["reward_accuracy"] for r in history], REWARD, "reward accuracy")
    quality.set_title("How right labels and rewards were", fontsize=10, pad=14)
    _batch_axis(quality, len(history))
    _share_axis(quality, "best")
    return made


def _gains(axes: Axes, data: Report) -> None:
    """avg@k of each set before and after, maj@k as a mark on its bar."""
    k, width, names, when = data["settings"]["eval_samples"], 0.38, set_names(data), moments(data)
    for number, (moment, label) in enumerate(zip(when, headings(data, f"avg@{k}"), strict=True)):
        at = [index + (number - (len(when) - 1) / 2) * width for index in range(len(names))]
        shares, votes = (
            [data[name][moment][f"{kind}@{k}"] for name in names] for kind in ("avg", "maj")
        )
        bars = axes.bar(
            at, [share or 0 for share in shares], width, color=(BEFORE, AFTER)[number], label=label
        )
        # In the bars: the marks of the majorities lie above them.
        shown = ["-" if share is None else f"{share:.2f}" for share in shares]
        axes.bar_label(
            bars, shown, label_type="center", fontsize=8, color="white" if number else "black"
        )
        axes.plot(
            at,
            _drawable(votes),
            "_",
            color="black",
            markersize=14,
            label=None if number else f"maj@{k}",
        )
    axes.set_xticks(range(len(names)), map(_literal, names))
    axes.set_title(
        "What every set gained" if len(when) > 1 else "How right every set was answered",
        fontsize=10,
    )
    _share_axis(axes, "upper left", columns=3)


def _steps(axes: Axes, data: Report, oracle: dict[str, float]) -> None:
    """avg@k of every set against the batches learned from; dashed: its first maj@k, dotted: the
    oracle."""
    k, evaluations = data["settings"]["eval_samples"], data["evaluations"]
    steps = [e["step"] for e in evaluations]
    for index, name in enumerate(set_names(data)):
        colour, shown = SETS[index % len(SETS)], _literal(name)
        values = _drawable([e["sets"][name][f"avg@{k}"] for e in evaluations])
        axes.plot(steps, values, "o-", color=colour, markersize=4, label=f"{shown} avg@{k}")
        if (first := data[name]["before"][f"maj@{k}"]) is not None:
            axes.axhline(
                first, color=colour, linewidth=0.9, linestyle="--", label=f"{shown} first maj@{k}"
            )
        if name in oracle:
            axes.axhline(
                oracle[name], color=colour, linewidth=0.9, linestyle=":", label=f"{shown} oracle"
            )
    axes.set_xlabel("batches learned from")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Accuracy against steps", fontsize=10)
    _share_axis(axes, "best")


def _course(axes: Axes, history: Batches, served: str) -> None:
    """The reward the server sees, the one true labels would give, and a mark where a new version
    took over."""
    batches = list(range(1, len(history) + 1))
    for key, colour, label in (
        ("majority_ratio", PSEUDO, "majority_ratio (reward under the vote)"),
        ("ground_truth_ratio", TRUE, "reward under the true label"),
        ("entropy", "#888888", "entropy (nats)"),
    ):
        _line(axes, batches, [r[key] for r in history], colour, label)
    marks = [(at, r["served"]) for at, r in zip(batches, history, strict=True)]
    last, every = served, max(1, len(history) // 12)
    for at, name in marks:
        if name and name != last:
            axes.axvline(at + 0.5, color="#888888", linewidth=0.6, linestyle=":")
            if at % every == 0:
                short = name.rpartition("@")[2]
                axes.annotate(
                    short,
                    (at + 0.5, 1.03),
                    fontsize=7,
                    ha="center",
                    color="#555555",
                    annotation_clip=False,
                )
            last = name
    axes.set_title("Rewards and entropy of the votes", fontsize=10, pad=14)
    _batch_axis(axes, len(history))
    _share_axis(axes, "best")


def _batch_axis(axes: Axes, batches: int) -> None:
    axes.set_xlabel("batch")
    axes.set_xlim(0.5, batches + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _share_axis(axes: Axes, where: Corner, columns: int = 1) -> None:
    axes.set_ylim(0, 1.12)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc=where, ncols=columns)
    axes.spines[["top", "right"]].set_visible(False)


def _line(
    axes: Axes, batches: list[int], values: list[float | None], colour: str, label: str
) -> None:
    axes.plot(
        batches, _drawable(values), "o-", color=colour, markersize=3.5, linewidth=1.4, label=label
    )


def _literal(name: str) -> str:
    """A name in which no formula is read."""
    return name.replace("$", r"\$")


def _drawable(values: list[float | None]) -> list[float]:
    """With gaps where nothing was measured."""
    return [float("nan") if value is None else value for value in values]
