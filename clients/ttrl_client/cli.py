"""ttrl-replay: the command line of the replay. Parses and checks before anything heavy is
imported."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ttrl_client.datasets import Fields, QuestionSet, load, load_joined
from ttrl_client.sources import DatasetError

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


class Bad(Exception):
    """A command line that cannot work: one line."""


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if command := COMMANDS.get(argv[0] if argv else ""):
        return command(argv[1:])
    options = _parser().parse_args(argv)
    fields = Fields(options.prompt_field, options.answer_field, options.group_field, options.suffix)
    try:
        trained, held_out = question_sets(options.questions, options.eval, fields)
        settings = _settings(options, trained)
    except (Bad, DatasetError) as error:
        return _refuse(error)
    from rich.console import Console

    from ttrl_client.folder import run_replay
    from ttrl_client.replay import Unusable
    from ttrl_client.report import BadFolder

    out = options.out or default_out(options.model, options.questions[0], settings.mode)
    try:
        run = run_replay(
            settings,
            trained,
            held_out,
            out,
            Console(),
            resume=options.resume,
            oracle=options.oracle,
        )
    except (Unusable, BadFolder, OSError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        print(f"interrupted; --resume --out {out} goes on from here", file=sys.stderr)
        return 130
    asked = (
        run.questions_answered
        if settings.episodes
        else sum(s.answered for s in run.before.values())
    )
    return 0 if asked else 1


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
    from ttrl_client.report import BadFolder

    try:
        text = compare.table([compare.read(folder) for folder in options.runs])
        if options.out:
            write_whole(text + "\n", options.out)
    except (BadFolder, OSError) as error:
        return _refuse(error)
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
    from ttrl_client.report import BadFolder

    try:
        redraw(options.run, Console(), options.oracle)
    except (BadFolder, OSError) as error:
        return _refuse(error)
    return 0


COMMANDS = {"compare": _compare, "redraw": _redraw}


def default_out(model: str, questions: str, mode: str) -> Path:
    """A folder for each model, data set and mode, so that no run takes another's place."""
    parts = (model, Path(questions.partition("?")[0]).stem, mode)
    return Path("runs") / "replay" / "-".join(re.sub(r"[^\w.@]+", "-", part) for part in parts)


def question_sets(
    trained: Sequence[Path | str], held_out: Sequence[Path | str], fields: Fields | None = None
) -> tuple[QuestionSet, tuple[QuestionSet, ...]]:
    """The set to learn from and the sets that are only evaluated; raises Bad or DatasetError."""
    loaded = (
        load_joined(trained, "trained", fields),
        tuple(load(source, fields=fields) for source in held_out),
    )
    from ttrl_client.report import RESERVED

    names = ["trained", *(s.name for s in loaded[1])]
    for name in names:
        if names.count(name) > 1 or name in RESERVED:
            raise Bad(
                f"--eval: a set cannot be called {name!r}: the name is taken in the report; "
                "rename the file"
            )
    return loaded


def _refuse(error: Exception) -> int:
    print(f"ttrl-replay: error: {error}", file=sys.stderr)
    return 2


def _settings(options: argparse.Namespace, trained: QuestionSet) -> Settings:
    """Where the command line is silent, a preset speaks; else the defaults."""
    from ttrl_client.run import Settings

    preset, prequential = trained.preset, options.mode == "prequential"
    if prequential and options.episodes not in (None, 1):
        raise Bad("--mode prequential asks every question once: leave --episodes out")
    episodes = 1 if prequential else options.episodes
    return Settings(
        base_url=options.base_url,
        api_key=options.api_key,
        model=options.model,
        episodes=(preset.episodes if preset else 1) if episodes is None else episodes,
        batch=options.batch or (preset.batch if preset else 8),
        eval_samples=options.eval_samples,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens or (preset.max_tokens if preset else None),
        seed=options.seed,
        concurrency=options.concurrency,
        mode="oracle" if options.labels else options.mode,
        eval_every=options.eval_every,
        wait=not options.no_wait,
        wait_timeout_s=options.wait_timeout,
        patience_s=options.patience,
        max_retries=options.max_retries,
        timeout_s=options.timeout,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ttrl-replay",
        description="Ask the questions of a file for some episodes and measure what the server "
        "learned from them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "questions",
        nargs="+",
        metavar="DATASET",
        help="questions to learn from: a preset, a file, a hub id, …",
    )
    add(
        "--base-url",
        default="http://127.0.0.1:8000/v1",
        type=_text(r"https?://", "{!r} must start with http:// or https:// and end in /v1"),
        help="default: %(default)s",
    )
    add(
        "--api-key",
        default=os.environ.get("OPENAI_API_KEY", "none"),
        help="default: $OPENAI_API_KEY",
        metavar="KEY",
    )
    add(
        "--model",
        required=True,
        type=_text(r"\s*\S", "must not be empty"),
        metavar="NAME",
        help="the name the server answers to",
    )
    add(
        "--mode",
        default="learn",
        choices=("learn", "frozen", "oracle", "prequential"),
        help="learn from the votes; frozen: nothing is stored; oracle: learn from the answers in "
        "the file, the upper bound; prequential: one pass, each answer scored before anything is "
        "learned from it (default learn)",
    )
    add(
        "--episodes",
        default=None,
        type=_whole(0),
        help="passes; 0 only evaluates (default: the preset's, or 1)",
    )
    add(
        "--batch",
        default=None,
        type=_whole(1),
        help="questions asked together (default: the preset's, or 8)",
    )
    add(
        "--eval",
        action="append",
        default=[],
        metavar="DATASET",
        help="a set that is only evaluated; repeatable",
    )
    add(
        "--eval-every",
        default=0,
        type=_whole(0),
        metavar="N",
        help="evaluate every N batches too (default: never)",
    )
    add("--prompt-field", metavar="NAME", help="where a record has its question")
    add("--answer-field", metavar="NAME", help="where it has the answer")
    add("--group-field", metavar="NAME", help="where it has its level or subject")
    add(
        "--suffix",
        help="added to every prompt (default: a preset's request for a boxed answer, else nothing)",
    )
    add(
        "--eval-samples",
        default=16,
        type=_whole(1, 128),
        metavar="K",
        help="samples a question, up to 128 (default 16)",
    )
    add("--temperature", default=0.6, type=_real(0, 2), help="of evaluation samples (default 0.6)")
    add("--top-p", default=0.95, type=_real(0, 1), help="of evaluation samples (default 0.95)")
    add(
        "--max-tokens",
        default=None,
        type=_whole(1),
        metavar="N",
        help="completion length; default: the server's",
    )
    add("--seed", default=0, type=int, help="of the order of the questions (default 0)")
    add("--concurrency", default=16, type=_whole(1), help="requests in flight (default 16)")
    add(
        "--out",
        default=None,
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
    add("--no-wait", action="store_true", help="do not wait for training between batches")
    add(
        "--wait-timeout",
        default=1800.0,
        type=_real(0),
        metavar="S",
        help="longest such wait (default 1800)",
    )
    add(
        "--patience",
        default=120.0,
        type=_real(0),
        metavar="S",
        help="wait for a server that is away (default 120)",
    )
    add("--max-retries", default=2, type=_whole(0), help="of the openai SDK (default 2)")
    add(
        "--timeout",
        default=900.0,
        type=_real(0.001),
        metavar="S",
        help="one request may take (default 900)",
    )
    return parser


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


def _text(beginning: str, complaint: str) -> Callable[[str], str]:
    """``beginning`` is a regular expression; {!r} in the complaint is what was given."""

    def text(given: str) -> str:
        if not re.match(beginning, given):
            raise argparse.ArgumentTypeError(complaint.format(given))
        return given

    return text


if __name__ == "__main__":
    sys.exit(main())
