"""The picture: what every set gained, accuracy against steps, and how the votes went meanwhile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ttrl_client.report import Report, headings, moments, set_names

BEFORE, AFTER = "#b8bec7", "#2f6fb2"
SETS = ("#2f6fb2", "#d9822b", "#3a8f5c", "#7a5195", "#c2452d", "#557a95")
GREY = "#888888"
VOTES = {
    "majority_ratio": ("#d9822b", "majority_ratio (reward under the vote)"),
    "ground_truth_ratio": ("#3a8f5c", "reward under the true label"),
    "entropy": (GREY, "entropy (nats)"),
}
RIGHT = {
    "label_accuracy": ("#7a5195", "label accuracy"),
    "reward_accuracy": ("#c2452d", "reward accuracy"),
}
"""What is drawn of every batch: colour and name of each line."""


def write(data: Report, path: Path, oracle: dict[str, float]) -> str:
    """learning.png, and the same as an <svg> element for a page; ``oracle`` are avg@k of a run on
    true labels, drawn as lines."""
    made, staged = figure(data, oracle), io.StringIO()
    made.savefig(path, dpi=110)
    made.savefig(staged, format="svg")
    text = staged.getvalue()
    return text[text.index("<svg") :]


def figure(data: Report, oracle: dict[str, float]) -> Figure:
    """Four panels; one where nothing was asked between evaluations."""
    # Without pyplot: no display is looked for and no global state is left behind.
    made = Figure(figsize=(12, 8) if data["history"] else (6, 4), layout="constrained")
    FigureCanvasAgg(made)
    made.suptitle(_literal(data["model"]))
    if not data["history"]:
        _gains(made.subplots(), data)
        return made
    (gains, steps), (course, quality) = made.subplots(2, 2)
    _gains(gains, data)
    _steps(steps, data, oracle)
    _course(course, data["history"], "Rewards and entropy of the votes", VOTES)
    _course(quality, data["history"], "How right labels and rewards were", RIGHT)
    # A mark where a new version took over.
    last, every = data["served"]["before"], max(1, len(data["history"]) // 12)
    for at, name in enumerate((batch["served"] for batch in data["history"]), 1):
        if name and name != last:
            course.axvline(at + 0.5, color=GREY, linewidth=0.6, linestyle=":")
            if at % every == 0:
                short = name.rpartition("@")[2]
                course.text(at + 0.5, 1.03, short, fontsize=7, ha="center", color="#555555")
            last = name
    return made


def _gains(axes: Axes, data: Report) -> None:
    """avg@k of each set before and after, maj@k as a mark on its bar."""
    k, width, names, when = data["settings"]["eval_samples"], 0.38, set_names(data), moments(data)
    for number, (moment, label) in enumerate(zip(when, headings(data, f"avg@{k}"), strict=True)):
        at = [index + (number - (len(when) - 1) / 2) * width for index in range(len(names))]
        shares, votes = ([data[n][moment][f"{kind}@{k}"] for n in names] for kind in ("avg", "maj"))
        heights, marks = [share or 0 for share in shares], None if number else f"maj@{k}"
        bars = axes.bar(at, heights, width, color=(BEFORE, AFTER)[number], label=label)
        # In the bars: the marks of the majorities lie above them.
        shown, ink = ["-" if x is None else f"{x:.2f}" for x in shares], ("black", "white")[number]
        axes.bar_label(bars, shown, label_type="center", fontsize=8, color=ink)
        axes.plot(at, _drawable(votes), "_", color="black", markersize=14, label=marks)
    axes.set_xticks(range(len(names)), map(_literal, names))
    title = "What every set gained" if len(when) > 1 else "How right every set was answered"
    axes.set_title(title, fontsize=10)
    _share_axis(axes, "upper left", columns=3)


def _steps(axes: Axes, data: Report, oracle: dict[str, float]) -> None:
    """avg@k of every set against batches; dashed: its first maj@k, dotted: the oracle."""
    k, evaluations = data["settings"]["eval_samples"], data["evaluations"]
    steps = [e["step"] for e in evaluations]
    for index, name in enumerate(set_names(data)):
        colour, shown = SETS[index % len(SETS)], _literal(name)
        values = _drawable([e["sets"][name][f"avg@{k}"] for e in evaluations])
        axes.plot(steps, values, "o-", color=colour, markersize=4, label=f"{shown} avg@{k}")
        first = data[name]["before"][f"maj@{k}"]
        for share, style, said in (
            (first, "--", f"first maj@{k}"),
            (oracle.get(name), ":", "oracle"),
        ):
            if share is not None:
                label = f"{shown} {said}"
                axes.axhline(share, color=colour, linewidth=0.9, linestyle=style, label=label)
    axes.set_xlabel("batches learned from")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Accuracy against steps", fontsize=10)
    _share_axis(axes, "best")


def _course(
    axes: Axes, history: list[dict[str, Any]], title: str, lines: dict[str, tuple[str, str]]
) -> None:
    """One line a key of the batches, with its colour and its label."""
    batches = range(1, len(history) + 1)
    for key, (colour, label) in lines.items():
        values = _drawable([batch[key] for batch in history])
        axes.plot(batches, values, "o-", color=colour, markersize=3.5, linewidth=1.4, label=label)
    axes.set_title(title, fontsize=10, pad=14)
    axes.set_xlabel("batch")
    axes.set_xlim(0.5, len(history) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _share_axis(axes, "best")


def _share_axis(axes: Axes, where: Literal["upper left", "best"], columns: int = 1) -> None:
    axes.set_ylim(0, 1.12)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc=where, ncols=columns)
    axes.spines[["top", "right"]].set_visible(False)


def _literal(name: str) -> str:
    """A name in which no formula is read."""
    return name.replace("$", r"\$")


def _drawable(values: list[float | None]) -> list[float]:
    """With gaps where nothing was measured."""
    return [float("nan") if value is None else value for value in values]
