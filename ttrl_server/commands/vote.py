"""``ttrl-vote``: votes over responses from a file, with the server's own code and without an engine.

A line in is ``{"id", "question"?, "responses": [text, …], "answer"?}``, a line out ``{"id", "answer", "counts",
"majority_ratio", "clusters", "stopped", "correct"?}``, in the same order. A line that cannot be read becomes
``{"id", "line", "error"}`` in its place, and the exit code is 1 at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import IO, Any

import msgspec

from ttrl_server.answers import asked, same
from ttrl_server.types import Rollout
from ttrl_server.voting import vote_over

CHUNK = 64
"""Lines that travel to a process together."""


class Record(msgspec.Struct):
    """One question with its responses, as a line of the input holds it."""

    id: str | int
    responses: list[str]
    question: str | None = None
    answer: str | int | float | None = None


def vote_line(line: bytes, number: int) -> dict[str, Any]:
    """The row of one line; a line that is no record gives a row with its error."""
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, RecursionError) as error:
        return {"id": _id(line), "line": number, "error": str(error)}
    if not record.responses:
        return {"id": record.id, "line": number, "error": "responses is empty: there is nothing to vote on"}
    return vote_record(record)


def vote_record(record: Record) -> dict[str, Any]:
    """The vote over a record's responses; all of them count as finished, and ties go to the lowest index."""
    rollouts = [Rollout(i, (), (), text, "stop") for i, text in enumerate(record.responses)]
    vote = vote_over(rollouts, record.question)
    row = {
        "id": record.id,
        "answer": vote.pseudo_label,
        "counts": {cluster.answer: len(cluster.members) for cluster in vote.clusters},
        "majority_ratio": vote.majority_ratio,
        "clusters": [{"answer": cluster.answer, "members": cluster.members} for cluster in vote.clusters],
        "stopped": vote.stopped,
    }
    if record.answer is None:
        return row
    return row | {"correct": same(vote.pseudo_label, str(record.answer), asked(record.question))}


def _id(line: bytes) -> Any:
    with contextlib.suppress(msgspec.DecodeError, RecursionError, AttributeError):
        return msgspec.json.decode(line).get("id")
    return None


# ---------------------------------------------------------------- many lines


def vote_lines(lines: Iterable[bytes], *, jobs: int) -> Iterator[bytes]:
    """A line of JSON for each line of the input that is not blank, in order."""
    chunks = _chunks((number, line) for number, line in enumerate(lines, 1) if line.strip())
    if jobs == 1:
        yield from itertools.chain.from_iterable(map(_vote_chunk, chunks))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as processes:
        waiting = [processes.submit(_vote_chunk, chunk) for chunk in itertools.islice(chunks, 2 * jobs)]
        while waiting:  # a bounded number under way, so that an endless input is no endless memory
            yield from waiting.pop(0).result()
            waiting += [processes.submit(_vote_chunk, chunk) for chunk in itertools.islice(chunks, 1)]


def _chunks(numbered: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while chunk := list(itertools.islice(numbered, CHUNK)):
        yield chunk


def _vote_chunk(chunk: list[tuple[int, bytes]]) -> list[bytes]:
    return [msgspec.json.encode(vote_line(line, number)) for number, line in chunk]


# ---------------------------------------------------------------- the command


def main() -> None:
    """Console script."""
    parser = argparse.ArgumentParser(
        prog="ttrl-vote", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", default="-", help="JSONL to vote on; - or nothing: standard input")
    parser.add_argument("--output", type=Path, help="where the rows go; default: standard output")
    parser.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1, help="processes that vote")
    parser.add_argument("--budget-s", type=float, help=argparse.SUPPRESS)  # of when checking took processes
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args()
    try:
        sys.exit(_run(options))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        sys.exit(1)
    except OSError as error:
        print(f"ttrl-vote: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _run(options: argparse.Namespace) -> int:
    failed = 0
    with contextlib.ExitStack() as open_files:
        source: IO[bytes] = sys.stdin.buffer
        if options.file != "-":
            source = open_files.enter_context(Path(options.file).open("rb"))
        sink: IO[bytes] = sys.stdout.buffer
        if options.output:
            sink = open_files.enter_context(options.output.open("wb"))
        rows = vote_lines(source, jobs=options.jobs)
        for row in rows if options.quiet else _shown(rows, _count(options.file)):
            failed += b'"error":' in row and "error" in msgspec.json.decode(row)  # most rows need no second look
            sink.write(row + b"\n")
        sink.flush()
    if failed:
        print(f"ttrl-vote: {failed} lines could not be read; their rows say why", file=sys.stderr)
    return 1 if failed else 0


def _count(file: str) -> int | None:
    """Lines of a file, for the progress bar; None for standard input."""
    if file == "-":
        return None
    with Path(file).open("rb") as source:
        return sum(1 for line in source if line.strip())


def _shown(rows: Iterator[bytes], total: int | None) -> Iterator[bytes]:
    from rich.console import Console
    from rich.progress import track

    return iter(track(rows, "voting", total=total, console=Console(stderr=True)))


if __name__ == "__main__":
    main()
