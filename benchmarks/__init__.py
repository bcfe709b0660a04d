"""Each performance claim as a command that measures it beside its peer, in one run."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

MODEL = ".models/SmolLM2-135M-Instruct"


def argument_parser(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a benchmark, whose docstring is its help."""
    shown_as_it_is = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=doc, formatter_class=shown_as_it_is)


def spread(values: Sequence[float]) -> str:
    """The median with the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"
