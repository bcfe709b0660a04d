"""python -m demo.run: start the server on a small model, let it learn, show what it learned, stop
it.

    questions.jsonl ×4 ─▶ replay ─HTTP─▶ ttrl-serve (gateway, engine, trainer)
                            └─▶ report.json, learning.png
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text
from ttrl_client import Unusable
from ttrl_client.cli import question_sets
from ttrl_client.folder import run_replay
from ttrl_client.run import Run, Settings

from demo import model, questions
from demo.server import Server, ServerDied, free_port, stop_former

PRESET = Path(__file__).resolve().parent.parent / "configs" / "smollm2-135m.yaml"
MODEL_NAME = "smollm2-135m"
"""What the preset calls the model it serves."""
KEY = "demo"
MAX_TOKENS = 64
"""Enough for the base model to come to an answer nine times in ten."""
HALF = ("--vote.samples", "16", "--train.samples", "16")
"""The preset's samples, halved, for the time that the demo takes."""


class DemoFailed(Exception):
    """Something the demo exists to show did not happen; one line."""


def server_argv(folder: Path, out: Path, port: int) -> list[str]:
    """The server's whole command line."""
    flags = {
        "--config": PRESET,
        "--model": folder,
        "--run-dir": out / "server",
        "--adapters.dir": out / "adapters",
        "--api.port": port,
        "--api.keys": json.dumps([KEY]),
    }
    command = [sys.executable, "-m", "ttrl_server.commands.serve"]
    return [*command, *(str(part) for flag in flags.items() for part in flag)]


def main() -> int:
    options = _options()
    # SIGTERM ends the demo the way Ctrl-C does: the server is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # A proxy of the environment cannot reach this machine's own address.
    others = os.environ.get("no_proxy", os.environ.get("NO_PROXY"))
    os.environ["no_proxy"] = f"127.0.0.1,{others}" if others else "127.0.0.1"
    try:
        judge(demonstrate(options, Console()))
    except (DemoFailed, ServerDied, Unusable, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def demonstrate(options: argparse.Namespace, console: Console) -> Run:
    """The demo from an empty folder to its report; the model alone is kept from a former run."""
    out, folder = options.out.absolute(), options.model_dir.absolute()
    clear(out)
    ensure_model(folder)
    paths = questions.write(out / "questions", options.seed)
    trained = paths.pop(questions.TRAINED_NAME)
    port = free_port()
    settings = Settings(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key=KEY,
        model=MODEL_NAME,
        episodes=options.episodes,
        eval_samples=4,
        max_tokens=MAX_TOKENS,
        # the paper's 0.95 sorts the vocabulary for every token, at half the speed on a CPU
        top_p=1.0,
        seed=options.seed,
    )
    argv = [*server_argv(folder, out, port), *HALF]
    with Server(argv, out / "server.log", out / "server.pid") as server:
        wait_ready(server, f"http://127.0.0.1:{port}/ready", options.startup_timeout, console)
        return run_replay(settings, *question_sets([trained], list(paths.values())), out, console)


def clear(out: Path) -> None:
    """Back to the base model: no server, store or adapter of a former run is left."""
    if stop_former(out / "server.pid", mark=str(out / "server")):
        print("stopped the server of a former run", flush=True)
    for part in ("server", "adapters", "questions"):
        shutil.rmtree(out / part, ignore_errors=True)
    for result in ("report.json", "learning.png", "rows.jsonl"):
        (out / result).unlink(missing_ok=True)


def ensure_model(folder: Path) -> None:
    """Make the model in a process of its own, so that its memory is free again."""
    if model.is_complete(folder) or (folder / "config.json").is_file():
        return  # another model that somebody has there is not made anew either
    if subprocess.run([sys.executable, "-m", "demo.model", str(folder)], check=False).returncode:
        raise DemoFailed("there is no model to serve")


def wait_ready(server: Server, url: str, timeout_s: float, console: Console) -> None:
    with console.status("starting the server") as status:
        server.wait_ready(
            url, timeout_s, lambda s: status.update(Text(f"starting the server ({s:.0f} s)"))
        )
    console.print("the server is ready", highlight=False)


def judge(run: Run) -> None:
    """Raises DemoFailed unless everything was answered and something was learned and served."""
    if run.requests_failed:
        raise DemoFailed(f"{run.requests_failed} requests failed; see rows.jsonl and server.log")
    if run.versions_promoted < 1:
        raise DemoFailed("no adapter version was promoted; see server.log")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo.run", description="A model that learns while it serves."
    )
    add, models = parser.add_argument, Path("runs/models/smollm2-135m")
    add("--out", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    add("--model-dir", type=Path, default=models, help="made once; default: %(default)s")
    add("--episodes", type=int, default=1, help="passes over the questions (default 1)")
    add("--seed", type=int, default=0, help="of the sets and their order (default 0)")
    add("--startup-timeout", type=float, default=600, metavar="S", help="default: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
