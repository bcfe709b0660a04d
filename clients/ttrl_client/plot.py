"""learning.png: what every set gained, and how the votes moved while the server learned."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ttrl_client.replay import BatchRecord, Run

BEFORE, AFTER, PSEUDO, TRUE = "#b8bec7", "#2f6fb2", "#d9822b", "#3a8f5c"


def write(run: Run, path: Path) -> None:
    # A figure of its own, without pyplot: no display is looked for and no global state is left behind.
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    gains, course = figure.subplots(1, 2, width_ratios=(2, 3))
    _gains(gains, run)
    _course(course, run.history, run.served_before)
    figure.suptitle(run.settings.model)
    figure.savefig(path, dpi=120)


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
    axes.set_ylim(0, 1.12)
    axes.legend(fontsize=8, loc="upper left", ncols=3)
    axes.spines[["top", "right"]].set_visible(False)


def _course(axes: Axes, history: list[BatchRecord], served: str) -> None:
    """The reward the server sees, the one true labels would give, and a mark where a new version took over."""
    batches = list(range(1, len(history) + 1))
    _line(axes, batches, [r.majority_ratio for r in history], PSEUDO, "majority_ratio (reward under the vote)")
    _line(axes, batches, [r.ground_truth_ratio for r in history], TRUE, "reward under the true label")
    for at, record in zip(batches, history, strict=True):
        if record.served and record.served != served:
            axes.axvline(at + 0.5, color="#888888", linewidth=0.8, linestyle=":")
            name = record.served.rpartition("@")[2]
            axes.annotate(name, (at + 0.5, 1.03), fontsize=7, ha="center", color="#555555", annotation_clip=False)
            served = record.served
    axes.set_xlabel("batch")
    axes.set_xlim(0.5, max(len(history), 1) + 1)
    axes.set_ylim(0, 1.12)
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, batches: list[int], values: list[float | None], colour: str, label: str) -> None:
    points = [float("nan") if value is None else value for value in values]
    axes.plot(batches, points, "o-", color=colour, markersize=3.5, linewidth=1.4, label=label)
