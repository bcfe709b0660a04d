"""What a person sees of a replay: a bar for all of it, one a phase, and a line for what is done."""

from __future__ import annotations

from typing import Self

from rich import progress
from rich.console import Console
from rich.text import Text


class Display:
    """Live bars on a terminal, plain lines in a log."""

    def __init__(self, console: Console) -> None:
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left:"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._whole = self._bars.add_task("all questions", total=None, visible=False, note="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def expect(self, questions: int) -> None:
        """How many questions the run will ask, over all of its phases."""
        self._bars.update(self._whole, total=questions, visible=True)

    def done(self, questions: int = 1) -> None:
        self._bars.update(self._whole, advance=questions)

    def line(self, text: str) -> None:
        # As Text: names and messages come from the server and are no markup.
        self._bars.console.print(Text(text), soft_wrap=True)

    def phase(self, title: str, total: int | None) -> Phase:
        return Phase(self, self._bars, title, total)


class Phase:
    """One bar, gone when its work is done. ``total`` None: a wait of unknown length."""

    def __init__(
        self, display: Display, bars: progress.Progress, title: str, total: int | None
    ) -> None:
        self._display, self._bars = display, bars
        self._task = bars.add_task(title, total=total, note="")
        self._right, self._answered = 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.remove_task(self._task)

    def answered(self, right: float, note: str = "") -> None:
        """One more question, with the share of right answers it got; shows the accuracy so far."""
        self._right, self._answered = self._right + right, self._answered + 1
        self._advance(f"right {self._right / self._answered:.2f}  {note}")

    def failed(self) -> None:
        self._advance("the last one failed")

    def note(self, note: str) -> None:
        self._bars.update(self._task, note=note)

    def _advance(self, note: str) -> None:
        self._bars.update(self._task, advance=1, note=note)
        self._display.done()
