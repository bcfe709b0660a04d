"""The command line of ttrl-replay. It is checked before anything heavy is imported."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ttrl_client import Unusable
from ttrl_client.datasets import Fields, QuestionSet, load, load_joined

if TYPE_CHECKING:
    from ttrl_client.run import Settings

EPILOG = """\
A data set is a preset (aime24, amc, math500, gpqa-diamond, gsm8k), a file (.jsonl, .json, .csv,
.parquet), a hub id (owner/name[/config][:split]) or generated (reasoning-gym:TASK?size=50&seed=0).
A record has id, prompt and answer, or fields that --prompt-field and --answer-field name. Answers
are used for scoring here and never sent, but for the modes that say so. Writes report.json,
report.md, report.html, learning.png, rows.jsonl (every question's outcome), asked.jsonl and
run.json to --out; --resume goes on where a run was killed, and asks nothing again that was
answered.

ttrl-replay compare RUN RUN … puts finished runs side by side; ttrl-replay redraw RUN draws one
again. Exit code: 0 done, 1 nothing was answered, 2 a bad file, option, address, key or model,
130 interrupted."""


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    command = COMMANDS.get(argv[0]) if argv else None
    try:
        return command(argv[1:]) if command else _replay(argv)
    except (Unusable, OSError) as error:
        print(f"ttrl-replay: error: {error}", file=sys.stderr)
        return 2


def _replay(argv: list[str]) -> int:
    options = _options(argv)
    fields = Fields(options.prompt_field, options.answer_field, options.group_field, options.suffix)
    trained, held_out = question_sets(options.questions, options.eval, fields)
    settings = _settings(options, trained)
    from rich.console import Console

    from ttrl_client.folder import run_replay

    out = options.out or default_out(options.model, options.questions[0], settings.mode)
    how = {"resume": options.resume, "oracle": options.oracle}
    try:
        run = run_replay(settings, trained, held_out, out, Console(), **how)
    except KeyboardInterrupt:
        print(f"interrupted; --resume --out {out} goes on from here", file=sys.stderr)
        return 130
    evaluated = sum(score.answered for score in run.evaluations[0].scores.values())
    return 0 if (run.questions_answered if settings.episodes else evaluated) else 1


def _compare(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="ttrl-replay compare",
        description="Finished runs side by side, beside the first, with paired tests.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--out", type=Path, help="write the Markdown there too")
    options = parser.parse_args(argv)
    from ttrl_client import compare
    from ttrl_client.journal import write_whole

    text = compare.table([compare.read(folder) for folder in options.runs])
    if options.out:
        write_whole(text + "\n", options.out)
    print(text)
    return 0


def _redraw(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="ttrl-replay redraw", description="Draw a finished run's reports again."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="its folder")
    parser.add_argument(
        "--oracle", type=Path, metavar="RUN", help="folder of a run in mode oracle, drawn beside it"
    )
    options = parser.parse_args(argv)
    from rich.console import Console

    from ttrl_client.folder import redraw

    redraw(options.run, Console(), options.oracle)
    return 0


COMMANDS = {"compare": _compare, "redraw": _redraw}


def default_out(model: str, questions: str, mode: str) -> Path:
    """A folder for each model, data set and mode, so that no run takes another's place."""
    parts = (model, Path(questions.partition("?")[0]).stem, mode)
    return Path("runs") / "replay" / "-".join(re.sub(r"[^\w.@]+", "-", part) for part in parts)


def question_sets(
    trained: Sequence[Path | str], held_out: Sequence[Path | str], fields: Fields | None = None
) -> tuple[QuestionSet, tuple[QuestionSet, ...]]:
    """The set to learn from and the sets that are only evaluated; raises Unusable."""
    sets = load_joined(trained, "trained", fields), tuple(load(name, fields) for name in held_out)
    from ttrl_client.report import RESERVED

    names = ["trained", *(s.name for s in sets[1])]
    for name in names:
        if names.count(name) > 1 or name in RESERVED:
            taken = "the name is taken in the report; rename the file"
            raise Unusable(f"--eval: a set cannot be called {name!r}: {taken}")
    return sets


def _settings(options: argparse.Namespace, trained: QuestionSet) -> Settings:
    """Where the command line is silent, a preset speaks; else the defaults."""
    from ttrl_client.run import Settings

    said = {name: value for name, value in vars(options).items() if value is not None}
    if options.mode == "prequential":
        if options.episodes not in (None, 1):
            raise Unusable("--mode prequential asks every question once: leave --episodes out")
        said["episodes"] = 1
    if options.labels:
        said["mode"] = "oracle"
    said |= {f"{name}_s": said[name] for name in ("wait_timeout", "patience", "timeout")}
    known = (asdict(trained.preset) if trained.preset else {}) | said
    return Settings(**{f.name: known[f.name] for f in fields(Settings) if f.name in known})


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ttrl-replay",
        description="Ask the questions of a file for some episodes and measure what the server "
        "learned from them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument

    def number(
        flag: str, kind: Callable[[str], float], default: float | None, says: str, letter: str = ""
    ) -> None:
        add(flag, type=kind, default=default, metavar=letter or None, help=says)

    add(
        "questions",
        nargs="+",
        metavar="DATASET",
        help="questions to learn from: a preset, a file, a hub id, …",
    )
    add("--base-url", default="http://127.0.0.1:8000/v1", help="default: %(default)s")
    key = os.environ.get("OPENAI_API_KEY", "none")
    add("--api-key", default=key, metavar="KEY", help="default: $OPENAI_API_KEY")
    add("--model", required=True, metavar="NAME", help="the name the server answers to")
    add(
        "--mode",
        default="learn",
        choices=("learn", "frozen", "oracle", "prequential"),
        help="learn from the votes; frozen: nothing is stored; oracle: learn from the answers in "
        "the file, the upper bound; prequential: one pass, each answer scored before anything is "
        "learned from it (default learn)",
    )
    number("--episodes", _whole(0), None, "passes; 0 only evaluates (default: the preset's, or 1)")
    number("--batch", _whole(1), None, "questions asked together (default: the preset's, or 8)")
    add(
        "--eval",
        action="append",
        default=[],
        metavar="DATASET",
        help="a set that is only evaluated; repeatable",
    )
    number("--eval-every", _whole(0), 0, "evaluate every N batches too (default: never)", "N")
    add("--prompt-field", metavar="NAME", help="where a record has its question")
    add("--answer-field", metavar="NAME", help="where it has the answer")
    add("--group-field", metavar="NAME", help="where it has its level or subject")
    add(
        "--suffix",
        help="added to every prompt (default: a preset's request for a boxed answer, else nothing)",
    )
    number("--eval-samples", _whole(1, 128), 16, "samples a question, up to 128 (default 16)", "K")
    number("--temperature", _real(0, 2), 0.6, "of evaluation samples (default 0.6)")
    number("--top-p", _real(0, 1), 0.95, "of evaluation samples (default 0.95)")
    number("--max-tokens", _whole(1), None, "completion length; default: the server's", "N")
    number("--seed", int, 0, "of the order of the questions (default 0)")
    number("--concurrency", _whole(1), 16, "requests in flight (default 16)")
    add(
        "--out",
        type=Path,
        help="default: runs/replay/MODEL-DATASET-MODE; a former run there is replaced",
    )
    add(
        "--resume",
        action="store_true",
        help="go on with the run in --out; what is answered is not asked again",
    )
    add(
        "--oracle",
        type=Path,
        metavar="RUN",
        help="folder of a run in mode oracle, drawn beside this one",
    )
    add("--labels", action="store_true", help="the same as --mode oracle")
    add(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="do not wait for training between batches",
    )
    number("--wait-timeout", _real(0), 1800.0, "longest such wait (default 1800)", "S")
    number("--patience", _real(0), 120.0, "wait for a server that is away (default 120)", "S")
    number("--max-retries", _whole(0), 2, "of the openai SDK (default 2)")
    number("--timeout", _real(0.001), 900.0, "one request may take (default 900)", "S")
    options = parser.parse_args(argv)
    if not re.match(r"https?://", options.base_url):
        form = "must start with http:// or https:// and end in /v1"
        parser.error(f"argument --base-url: {options.base_url!r} {form}")
    if not options.model.strip():
        parser.error("argument --model: must not be empty")
    return options


def _whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if not least <= (value := int(text)) <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most:g}")
        return value

    return whole_number


def _real(least: float, most: float = math.inf) -> Callable[[str], float]:
    def number(text: str) -> float:
        if not least <= (value := float(text)) <= most or math.isinf(value):
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least:g} to {most:g}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
