"""Measures the house: the length of functions, how many have one caller, and lines by part.

    python .ci/house.py [FOLDER]

The last line is JSON. A function counts as single-use when it is private (``_name``) and its module
names it just once besides its definition; the share is of all functions in server and client. Cases
that tests read from data files count as lines too.
"""

from __future__ import annotations

import ast
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PARTS = ("server", "client", "benchmarks", "experiments", "tests", "demo")
FOLDERS = {"server": "ttrl_server", "client": "clients"}
"""Of the parts that are not called like their folder."""
WIDE = 100
"""Columns."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function and method of a module, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def single_use(tree: ast.Module) -> list[str]:
    """Private functions that their module names once besides defining them."""
    named = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    named += Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    alone = (f.name for f in functions(tree) if named[f.name] == 1)
    return [name for name in alone if name.startswith("_") and not name.endswith("__")]


def measure(root: Path) -> dict[str, object]:
    """All figures of the checkout at ``root``."""
    files = {part: list((root / FOLDERS.get(part, part)).rglob("*.py")) for part in PARTS}
    trees = [ast.parse(path.read_text()) for part in ("server", "client") for path in files[part]]
    lengths = [(f.end_lineno or f.lineno) - f.lineno + 1 for tree in trees for f in functions(tree)]
    alone = sum(len(single_use(tree)) for tree in trees)
    lines = {
        part: [line for path in paths for line in path.read_text().splitlines()]
        for part, paths in files.items()
    }
    counts = {part: len(found) for part, found in lines.items()}
    cases = (path for path in (root / "tests").rglob("data/*") if path.is_file())
    counts["test data"] = sum(len(path.read_text().splitlines()) for path in cases)
    return {
        "functions": len(lengths),
        "median_lines": statistics.median(lengths),
        "p90_lines": statistics.quantiles(lengths, n=10)[-1],
        "single_use_privates": alone,
        "single_use_share": round(alone / len(lengths), 3),
        "wide_lines": sum(len(line) > WIDE for part in lines.values() for line in part),
        "root_modules": sum(1 for _ in (root / "ttrl_server").glob("[!_]*.py")),
        "lines": counts,
        "lines_in_all": sum(counts.values()),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1] if len(sys.argv) > 1 else "."))))
