"""The pictures beside tables of results: grouped bars with marks, and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MARK = "#c2452d"
COLOURS = ("#b8bec7", "#2f6fb2", "#d9822b", "#3a8f5c", "#7a5195")


def bars(
    path: Path,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    marks: Mapping[str, Sequence[float]] | None = None,
    points: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> None:
    """A group of bars a label, one a series.

    ``marks`` are lines across a group, ``points`` several values of its last bar.
    """
    made, axes = _figure(width=max(7.0, 1.1 * len(labels)))
    width = 0.8 / len(series)
    for n, (name, values) in enumerate(series.items()):
        at = [i - 0.4 + (n + 0.5) * width for i in range(len(labels))]
        drawn = axes.bar(at, list(values), width, color=COLOURS[n % len(COLOURS)], label=name)
        axes.bar_label(drawn, [f"{value:.2f}" for value in values], fontsize=7, padding=2)
    for name, values in (marks or {}).items():
        left, right = ([i + side for i in range(len(labels))] for side in (-0.4, 0.4))
        axes.hlines(list(values), left, right, color=MARK)
        axes.plot([], [], "-", color=MARK, label=name)
    for name, several in (points or {}).items():
        over_the_last = [i + 0.4 - width / 2 for i, values in enumerate(several) for _ in values]
        axes.plot(over_the_last, list(chain(*several)), "k.", markersize=5, label=name)
    rotation = 30 if len(labels) > 6 else 0
    axes.set_xticks(range(len(labels)), list(labels), fontsize=8, rotation=rotation)
    axes.set_ylim(0, 1.18)
    _finish(made, axes, path)


def lines(path: Path, course: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> None:
    """A line a name, through its points."""
    made, axes = _figure(width=7)
    for n, (name, through) in enumerate(course.items()):
        colour = COLOURS[(n + 1) % len(COLOURS)]
        axes.plot(*zip(*through, strict=True), "o-", color=colour, markersize=3, label=name)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the names
    _finish(made, axes, path)


def _figure(width: float) -> tuple[Figure, Axes]:
    made = Figure(figsize=(width, 3.6), layout="constrained")
    FigureCanvasAgg(made)
    return made, made.subplots()


def _finish(made: Figure, axes: Axes, path: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, ncols=3, loc="upper left", frameon=False)
    made.savefig(path, dpi=80)
