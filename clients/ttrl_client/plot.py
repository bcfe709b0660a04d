"""The pictures: what every set gained, accuracy against steps, and how votes and labels moved meanwhile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ttrl_client.run import BatchRecord, Run

BEFORE, AFTER, PSEUDO, TRUE, LABEL, REWARD = "#b8bec7", "#2f6fb2", "#d9822b", "#3a8f5c", "#7a5195", "#c2452d"
Corner = Literal["upper left", "best"]
SETS = ("#2f6fb2", "#d9822b", "#3a8f5c", "#7a5195", "#c2452d", "#557a95")


def write(run: Run, path: Path, oracle: dict[str, float] | None = None) -> None:
    """learning.png; ``oracle`` are avg@k of a run on true labels, drawn as lines."""
    figure(run, oracle).savefig(path, dpi=110)


def svg(run: Run, oracle: dict[str, float] | None = None) -> str:
    """The same as an <svg> element for a page."""
    staged = io.StringIO()
    figure(run, oracle).savefig(staged, format="svg")
    text = staged.getvalue()
    return text[text.index("<svg") :]


def figure(run: Run, oracle: dict[str, float] | None = None) -> Figure:
    # A figure of its own, without pyplot: no display is looked for and no global state is left behind.
    made = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(made)
    (gains, steps), (course, quality) = made.subplots(2, 2)
    _gains(gains, run)
    _steps(steps, run, oracle or {})
    _course(course, run.history, run.served_before)
    _quality(quality, run.history)
    made.suptitle(run.settings.model)
    return made


def _gains(axes: Axes, run: Run) -> None:
    """avg@k of each set before and after, maj@k as a mark on its bar."""
    k, width = run.settings.eval_samples, 0.38
    for shift, colour, label, scores in ((-0.5, BEFORE, "before", run.before), (0.5, AFTER, "after", run.after)):
        at = [index + shift * width for index in range(len(run.sets))]
        measured = [scores[s.name] for s in run.sets]
        bars = axes.bar(at, [m.avg or 0 for m in measured], width, color=colour, label=f"avg@{k} {label}")
        axes.bar_label(bars, ["-" if m.avg is None else f"{m.avg:.2f}" for m in measured], fontsize=8, padding=2)
        votes = [m.maj if m.maj is not None else float("nan") for m in measured]
        axes.plot(at, votes, "_", color="black", markersize=14, label=f"maj@{k}" if shift < 0 else None)
    axes.set_xticks(range(len(run.sets)), [s.name for s in run.sets])
    _share_axis(axes, "upper left", columns=3)


def _steps(axes: Axes, run: Run, oracle: dict[str, float]) -> None:
    """avg@k of every set against the batches learned from; dashed: its first maj@k, dotted: the oracle."""
    k = run.settings.eval_samples
    for index, s in enumerate(run.sets):
        colour = SETS[index % len(SETS)]
        points = [(e.step, e.scores[s.name].avg) for e in run.evaluations]
        values = [float("nan") if value is None else value for _, value in points]
        axes.plot([step for step, _ in points], values, "o-", color=colour, markersize=4, label=f"{s.name} avg@{k}")
        if (first := run.before[s.name].maj) is not None:
            axes.axhline(first, color=colour, linewidth=0.9, linestyle="--", label=f"{s.name} first maj@{k}")
        if s.name in oracle:
            axes.axhline(oracle[s.name], color=colour, linewidth=0.9, linestyle=":", label=f"{s.name} oracle")
    axes.set_xlabel("batches learned from")
    _share_axis(axes, "best")


def _course(axes: Axes, history: list[BatchRecord], served: str) -> None:
    """The reward the server sees, the one true labels would give, and a mark where a new version took over."""
    batches = list(range(1, len(history) + 1))
    _line(axes, batches, [r.majority_ratio for r in history], PSEUDO, "majority_ratio (reward under the vote)")
    _line(axes, batches, [r.ground_truth_ratio for r in history], TRUE, "reward under the true label")
    _line(axes, batches, [r.entropy for r in history], "#888888", "entropy (nats)")
    marks = [(at, r.served) for at, r in zip(batches, history, strict=True)]
    last, every = served, max(1, len(history) // 12)
    for at, name in marks:
        if name and name != last:
            axes.axvline(at + 0.5, color="#888888", linewidth=0.6, linestyle=":")
            if at % every == 0:
                short = name.rpartition("@")[2]
                axes.annotate(short, (at + 0.5, 1.03), fontsize=7, ha="center", color="#555555", annotation_clip=False)
            last = name
    axes.set_xlabel("batch")
    axes.set_xlim(0.5, max(len(history), 1) + 1)
    _share_axis(axes, "best")


def _quality(axes: Axes, history: list[BatchRecord]) -> None:
    """How right the labels were, and the rewards made from them."""
    batches = list(range(1, len(history) + 1))
    _line(axes, batches, [r.label_accuracy for r in history], LABEL, "label accuracy")
    _line(axes, batches, [r.reward_accuracy for r in history], REWARD, "reward accuracy")
    axes.set_xlabel("batch")
    axes.set_xlim(0.5, max(len(history), 1) + 1)
    _share_axis(axes, "best")


def _share_axis(axes: Axes, where: Corner, columns: int = 1) -> None:
    axes.set_ylim(0, 1.12)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc=where, ncols=columns)
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, batches: list[int], values: list[float | None], colour: str, label: str) -> None:
    points = [float("nan") if value is None else value for value in values]
    axes.plot(batches, points, "o-", color=colour, markersize=3.5, linewidth=1.4, label=label)
