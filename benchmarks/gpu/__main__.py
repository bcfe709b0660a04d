"""Measures on a GPU machine without any network, one process and one time limit a measurement.

    python -m benchmarks.gpu --kit KIT --out OUT [--only card step …] [--seconds 600]

``KIT`` is the folder that the parts of ``benchmarks.gpu.pack`` were unpacked into. What a
measurement prints is in ``OUT/NAME.log``, its lines of JSON are in ``OUT/results.json`` as soon as
it has ended. One that fails or is out of time does not end the others. Known are, in this order:

{rows}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import argument_parser

HERE = Path(__file__).resolve().parents[2]
ON_THE_CARD = {
    "TTRL_HARDWARE": "cuda",
    "TTRL_GPUS": "1",
    "TTRL_DTYPE": "float16",
    "TTRL_TRAIN__DTYPE": "float16",
    "TTRL_ENGINE__GPU_MEMORY_UTILIZATION": "0.15",
}
"""What the demo's preset, which is for a CPU, is told beside: one card for engine and trainer."""


@dataclass(frozen=True, slots=True)
class Measurement:
    argv: tuple[str, ...]
    limit_s: float
    env: dict[str, str] = field(default_factory=dict)


def _module(name: str, *argv: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.gpu.{name}", *argv)


def measurements(kit: Path) -> dict[str, Measurement]:
    """By name, in the order in which they run."""
    model = str(kit / "model")

    def demo(name: str, **env: str) -> Measurement:
        argv = ("-m", "demo.run", "--model-dir", model, "--out", str(kit / name))
        return Measurement(argv, 300, ON_THE_CARD | env)

    return {
        "model": Measurement(("-m", "demo.model", model), 90),
        "card": Measurement(_module("card"), 40),
        "profile": Measurement(_module("step", "ours", "--cases", "deep", "--profile"), 90),
        "profile_no_cudnn": Measurement(
            _module("step", "ours", "--cases", "deep", "--profile", "--no-cudnn"), 90
        ),
        "step": Measurement(_module("step", "ours"), 180),
        "step16": Measurement(_module("step", "ours", "--dtype", "float16"), 180),
        "trl": Measurement(_module("step", "trl"), 180),
        "engine": Measurement(_module("engine"), 240),
        "precision": Measurement(_module("precision", "--model", model), 240),
        "demo": demo("demo"),
        "demo_answered": demo("demo_answered", TTRL_TRAIN__REWARD="answered"),
        "demo_random": demo("demo_random", TTRL_TRAIN__REWARD="random"),
    }


def main() -> None:
    rows = "\n".join(f"    {name}" for name in measurements(Path()))
    parser = argument_parser((__doc__ or "").format(rows=rows))
    known = list(measurements(Path()))
    parser.add_argument("--kit", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=600, help="for all of them")
    options = parser.parse_args()
    kit, out = options.kit.absolute(), options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + options.seconds
    chosen = {n: m for n, m in measurements(kit).items() if n in options.only}
    results: dict[str, Any] = {}
    for name, measurement in chosen.items():
        begun = time.monotonic()
        process = _start(name, measurement, kit, out)
        left = min(ends - begun, measurement.limit_s)
        results[name] = _end(process, max(0.0, left), out / f"{name}.log")
        results[name]["wall_s"] = round(time.monotonic() - begun, 1)
        (out / "results.json").write_text(json.dumps(results, indent=1))
        print(name, json.dumps(results[name]), flush=True)
    print(json.dumps(results))


def _start(name: str, m: Measurement, kit: Path, out: Path) -> subprocess.Popen[bytes]:
    paths = [str(kit / "site"), str(HERE), str(HERE / "clients")]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(kit / "wheels"),
        "HF_HUB_OFFLINE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TQDM_DISABLE": "1",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        # FlashInfer is not in the kit, and vLLM takes it for granted.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
    }
    with (out / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *m.argv],
            env=env | m.env,
            cwd=kit,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _end(process: subprocess.Popen[bytes], left_s: float, log: Path) -> dict[str, Any]:
    """How it ended, and every line of JSON that it printed."""
    ended: dict[str, Any] = {}
    try:
        ended["code"] = process.wait(left_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        ended["out_of_time"] = True
    lines = log.read_text(errors="replace").splitlines()
    ended["found"] = [json.loads(line) for line in lines if line.startswith('{"')]
    if ended.get("code") or "out_of_time" in ended:
        ended["end"] = lines[-12:]
    return ended


if __name__ == "__main__":
    main()
