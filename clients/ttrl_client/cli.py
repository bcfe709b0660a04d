"""ttrl-replay: the command line of the replay. Parses and checks before anything heavy is imported."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ttrl_client.datasets import DatasetError, QuestionSet, load, load_joined

if TYPE_CHECKING:
    from rich.console import Console

    from ttrl_client.replay import Run, Settings

EPILOG = """\
A file holds one JSON object a line: {"id": …, "prompt": …, "answer": …}. Answers are used for scoring here and
never sent. Writes report.json, learning.png and rows.jsonl (every question's outcome) to --out.
Exit code: 0 done, 1 nothing was answered, 2 a bad file, option, address, key or model, 130 interrupted."""


class Bad(Exception):
    """A command line that cannot work: one line."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        trained, held_out = question_sets(options.questions, options.eval)
    except (Bad, DatasetError) as error:
        return _refuse(error)
    from rich.console import Console

    from ttrl_client.replay import Unusable

    out = options.out or Path("runs") / options.model.replace("/", "-")
    try:
        run = run_replay(_settings(options), trained, held_out, out, Console())
    except (Unusable, OSError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0 if run.questions_answered else 1


def run_replay(
    settings: Settings, trained: QuestionSet, held_out: Sequence[QuestionSet], out: Path, console: Console
) -> Run:
    """Replay, then leave report.json, learning.png and rows.jsonl in ``out`` and the table on ``console``."""
    import asyncio

    from ttrl_client import report
    from ttrl_client.progress import Display
    from ttrl_client.replay import replay

    out.mkdir(parents=True, exist_ok=True)
    with Display(console) as display:
        run = asyncio.run(replay(settings, trained, held_out, out, display))
    report.write(run, out / "report.json")
    _draw(run, out / "learning.png", console)
    console.print(report.table(run))
    console.print(f"written to {out}", markup=False, highlight=False)
    return run


def _draw(run: Run, path: Path, console: Console) -> None:
    try:
        from ttrl_client import plot
    except ImportError as error:
        console.print(f"no {path.name}: {error}; install matplotlib to get it", markup=False, highlight=False)
        return
    plot.write(run, path)


def question_sets(trained: Sequence[Path], held_out: Sequence[Path]) -> tuple[QuestionSet, tuple[QuestionSet, ...]]:
    """The set to learn from and the sets that are only evaluated; raises Bad or DatasetError."""
    loaded = load_joined(trained, "trained"), tuple(load(path) for path in held_out)
    from ttrl_client.report import RESERVED

    names = ["trained", *(path.stem for path in held_out)]
    for name in names:
        if names.count(name) > 1 or name in RESERVED:
            raise Bad(f"--eval: a set cannot be called {name!r}: the name is taken in the report; rename the file")
    return loaded


def _refuse(error: Exception) -> int:
    print(f"ttrl-replay: error: {error}", file=sys.stderr)
    return 2


def _settings(options: argparse.Namespace) -> Settings:
    from ttrl_client.replay import Settings

    return Settings(
        base_url=options.base_url,
        api_key=options.api_key,
        model=options.model,
        episodes=options.episodes,
        batch=options.batch,
        eval_samples=options.eval_samples,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=options.seed,
        concurrency=options.concurrency,
        labels=options.labels,
        wait=not options.no_wait,
        wait_timeout_s=options.wait_timeout,
        patience_s=options.patience,
        max_retries=options.max_retries,
        timeout_s=options.timeout,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ttrl-replay",
        description="Ask the questions of a file for some episodes and measure what the server learned from them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("questions", nargs="+", type=Path, metavar="QUESTIONS.jsonl", help="questions to learn from")
    add("--base-url", default="http://127.0.0.1:8000/v1", type=_url, help="default: %(default)s")
    add("--api-key", default=os.environ.get("OPENAI_API_KEY", "none"), help="default: $OPENAI_API_KEY", metavar="KEY")
    add("--model", required=True, type=_name, metavar="NAME", help="the name the server answers to")
    add("--episodes", default=1, type=_whole(0), help="passes over the questions; 0 only evaluates (default 1)")
    add("--batch", default=8, type=_whole(1), help="questions asked together (default 8)")
    add(
        "--eval",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a set that is only evaluated; repeatable",
    )
    add("--eval-samples", default=16, type=_whole(1), metavar="K", help="samples a question (default 16)")
    add("--temperature", default=0.6, type=_real(0, 2), help="of evaluation samples (default 0.6)")
    add("--top-p", default=0.95, type=_real(0, 1), help="of evaluation samples (default 0.95)")
    add("--max-tokens", default=None, type=_whole(1), metavar="N", help="completion length; default: the server's")
    add("--seed", default=0, type=int, help="of the order of the questions (default 0)")
    add("--concurrency", default=16, type=_whole(1), help="requests in flight (default 16)")
    add("--out", default=None, type=Path, help="default: runs/NAME")
    add("--labels", action="store_true", help="learn from the answers in the file, not from votes: the upper bound")
    add("--no-wait", action="store_true", help="do not wait for training between batches")
    add("--wait-timeout", default=1800.0, type=_real(0), metavar="S", help="longest such wait (default 1800)")
    add("--patience", default=120.0, type=_real(0), metavar="S", help="wait for a server that is away (default 120)")
    add("--max-retries", default=2, type=_whole(0), help="of the openai SDK (default 2)")
    add("--timeout", default=900.0, type=_real(0.001), metavar="S", help="one request may take (default 900)")
    return parser


def _whole(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return whole_number


def _real(least: float, most: float = math.inf) -> Callable[[str], float]:
    def number(text: str) -> float:
        if not least <= (value := float(text)) <= most or math.isinf(value):
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least:g} to {most:g}")
        return value

    return number


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} must start with http:// or https:// and end in /v1")
    return text


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


if __name__ == "__main__":
    sys.exit(main())
