"""What a person sees while a replay runs: one bar a phase, one line for what is done."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text


class Display:
    """Live bars on a terminal, plain lines in a log."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def line(self, text: str) -> None:
        # As Text: names and messages come from the server and are no markup.
        self._bars.console.print(Text(text), soft_wrap=True)

    def phase(self, title: str, total: int | None) -> Phase:
        return Phase(self._bars, title, total)


class Phase:
    """One bar, gone when its work is done. ``total`` None: a wait of unknown length."""

    def __init__(self, bars: Progress, title: str, total: int | None) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=total, note="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.remove_task(self._task)

    def advance(self, note: str) -> None:
        self._bars.update(self._task, advance=1, note=note)

    def note(self, note: str) -> None:
        self._bars.update(self._task, note=note)
