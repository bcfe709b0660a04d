"""``ttrl-vote``: votes on responses from a file with the server's code, without an engine.

A line of the input is ``{"id", "question"?, "responses": [text, …], "answer"?}``. A line of the
output is ``{"id", "answer", "counts", "majority_ratio", "clusters", "stopped", "correct"?}``, in
the same order. For a line that cannot be read, the output is ``{"id", "line", "error"}``, and the
exit code is 1 at the end.
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
"""Number of lines that are sent to a process together."""


class Record(msgspec.Struct):
    """One line of the input: a question with its responses."""

    id: str | int
    responses: list[str]
    question: str | None = None
    answer: str | int | float | None = None


def vote_line(line: bytes, number: int) -> dict[str, Any]:
    """The output row of one input line; a row with an error when the line is no record.

    All responses count as finished; the lowest index wins ties.
    """
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, RecursionError) as error:
        known = None
        with contextlib.suppress(msgspec.DecodeError, RecursionError, AttributeError):
            known = msgspec.json.decode(line).get("id")
        return {"id": known, "line": number, "error": str(error)}
    if not record.responses:
        problem = "responses is empty: there is nothing to vote on"
        return {"id": record.id, "line": number, "error": problem}
    rollouts = [Rollout(i, (), (), text, "stop") for i, text in enumerate(record.responses)]
    vote = vote_over(rollouts, record.question)
    row = {
        "id": record.id,
        "answer": vote.pseudo_label,
        "counts": {cluster.answer: len(cluster.members) for cluster in vote.clusters},
        "majority_ratio": vote.majority_ratio,
        "clusters": vote.clusters,
        "stopped": vote.stopped,
    }
    if record.answer is None:
        return row
    return row | {"correct": same(vote.pseudo_label, str(record.answer), asked(record.question))}


# ---------------------------------------------------------------- many lines


def vote_lines(lines: Iterable[bytes], *, jobs: int) -> Iterator[bytes]:
    """A line of JSON for each line of the input that is not blank, in order."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    chunks = iter(lambda: list(itertools.islice(numbered, CHUNK)), [])
    if jobs == 1:
        yield from itertools.chain.from_iterable(map(_vote_chunk, chunks))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as processes:
        # A limited number of chunks at once, so that an endless input needs limited memory.
        waiting = [processes.submit(_vote_chunk, c) for c in itertools.islice(chunks, 2 * jobs)]
        while waiting:
            yield from waiting.pop(0).result()
            waiting += [processes.submit(_vote_chunk, c) for c in itertools.islice(chunks, 1)]


def _vote_chunk(chunk: list[tuple[int, bytes]]) -> list[bytes]:
    return [msgspec.json.encode(vote_line(line, number)) for number, line in chunk]


# ---------------------------------------------------------------- the command


def main() -> None:
    """Console script."""
    parser = argparse.ArgumentParser(
        prog="ttrl-vote", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about = "JSONL to vote on; - or nothing: standard input"
    parser.add_argument("file", nargs="?", default="-", help=about)
    parser.add_argument("--output", type=Path, help="where the rows go; default: standard output")
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=cores, help="processes that vote")
    # An old option, from when checks ran in processes; it does nothing.
    parser.add_argument("--budget-s", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"argument --jobs: {options.jobs} is less than 1")
    try:
        failed = _run(options)
    except BrokenPipeError:
        # The reader of our output has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"ttrl-vote: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    if failed:
        print(f"ttrl-vote: {failed} lines could not be read; their rows say why", file=sys.stderr)
        sys.exit(1)


def _run(options: argparse.Namespace) -> int:
    """Writes the output rows; returns the number of lines that could not be read."""
    failed, path = 0, None if options.file == "-" else Path(options.file)
    with contextlib.ExitStack() as open_files:
        source: IO[bytes] = open_files.enter_context(path.open("rb")) if path else sys.stdin.buffer
        sink: IO[bytes] = sys.stdout.buffer
        if options.output:
            sink = open_files.enter_context(options.output.open("wb"))
        rows: Iterable[bytes] = vote_lines(source, jobs=options.jobs)
        if not options.quiet:
            from rich.console import Console
            from rich.progress import track

            total = None
            if path:
                with path.open("rb") as lines:
                    total = sum(1 for line in lines if line.strip())
            rows = track(rows, "voting", total=total, console=Console(stderr=True))
        for row in rows:
            # Cheap test first: most rows need no decoding.
            failed += b'"error":' in row and "error" in msgspec.json.decode(row)
            sink.write(row + b"\n")
        sink.flush()
    return failed


if __name__ == "__main__":
    main()
