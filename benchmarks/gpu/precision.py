"""What a number format does to the gradient, and whether the proof of a swap tells weights apart.

    python -m benchmarks.gpu.precision [--model DIR] [--dtypes float16 bfloat16]
                                                [--questions 8]

The model samples answers to the demo's questions in float32; their rewards are drawn. For each
format: the cosine between the gradient of our step and float32's, and the ratio of their norms;
then four steps at rate 1e-4, and an engine of that format which is given the right weights, those
of two steps earlier, B negated, and B at random with the same norm. The proof ought to pass the
first alone. The last line is JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import MODEL, argument_parser
from benchmarks.engine import running
from demo.questions import products
from ttrl_server.engine.probe import prove
from ttrl_server.errors import RejectedVersion
from ttrl_server.registry.names import WEIGHTS, version_name
from ttrl_server.settings.config import Config
from ttrl_server.training import publish, state
from ttrl_server.training.policy import load_policy, trained_parameters
from ttrl_server.training.ranks import Ranks
from ttrl_server.training.step import build_engine, train_step
from ttrl_server.types import Admission, Batch, Experience, Group, Probe, Rollout, Vote

SAMPLES, TOKENS, RANK, RATE = 16, 24, 16, 1e-4
OLDER, STEPS = 2, 4


@dataclass(frozen=True)
class Made:
    """What training in one format left."""

    gradient: torch.Tensor
    probe: Probe
    folders: dict[str, Path]


def config(model: Path, run_dir: Path, dtype: str) -> Config:
    hardware = "cuda" if torch.cuda.is_available() else "cpu"
    engine: dict[str, Any] = {"gpu_memory_utilization": 0.2, "extra_args": ["--enforce-eager"]}
    train = {"rank": RANK, "alpha": 2 * RANK, "learning_rate": RATE, "kl": 0, "dtype": dtype}
    if hardware == "cuda":
        engine, train = engine | {"devices": [0]}, train | {"devices": [0]}
    shared = {"hardware": hardware, "dtype": dtype, "max_model_len": 1024, "run_dir": run_dir}
    named = {"model": str(model), "served_model_name": "m"}
    return Config.model_validate(named | shared | {"engine": engine, "train": train})


def sampled_batch(model: Path, device: str, questions: int) -> Batch:
    """The model's own answers with their log-probabilities, temperature 1, rewards by chance."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).to(device)
    torch.manual_seed(0)
    order, experiences = random.Random(0), []
    for record in products()["trained"][:questions]:
        said = [{"role": "user", "content": record["prompt"]}]
        shaped = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=True)
        prompt = torch.tensor([shaped["input_ids"]], device=device)
        how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        rows = policy.generate(prompt, max_new_tokens=TOKENS, num_return_sequences=SAMPLES, **how)
        with torch.no_grad():
            logp = torch.log_softmax(policy(rows).logits[:, :-1].float(), -1)
        logp = logp.gather(2, rows[:, 1:, None]).squeeze(2)[:, prompt.shape[1] - 1 :]
        rollouts = []
        for i, row in enumerate(rows[:, prompt.shape[1] :].tolist()):
            end = tokenizer.eos_token_id
            length = row.index(end) + 1 if end in row else len(row)
            old = tuple(logp[i, :length].tolist())
            rollouts.append(Rollout(i, tuple(row[:length]), old, "", "stop"))
        rewards = (1.0, 0.0, *(float(order.randrange(2)) for _ in range(SAMPLES - 2)))
        vote = Vote((None,) * SAMPLES, (), None, None, None, 0, "full")
        group = Group(record["id"], tuple(prompt[0].tolist()), tuple(rollouts), 0, 1.0)
        experiences.append(
            Experience(record["id"], "t", group, vote, rewards, Admission(True, "ok"))
        )
    return Batch("b", 1, None, tuple(experiences), 60.0)


def train(cfg: Config, batch: Batch, out: Path, steps: int) -> Made:
    """Takes the steps and writes the four adapters that an engine is then given."""
    policy = load_policy(cfg)
    fresh = state.initial(policy)
    engine = build_engine(policy, cfg)
    # B is zero in a fresh adapter, and then no gradient reaches A.
    draw = torch.Generator().manual_seed(0)
    moved = {
        name: torch.randn(value.shape, generator=draw) * 0.01 if "lora_B" in name else value
        for name, value in fresh.weights.items()
    }
    state.restore(engine, replace(fresh, weights=moved))
    kept: list[torch.Tensor] = []
    original: Callable[[], Any] = engine.step

    def step() -> None:
        if not kept:
            parameters = sorted(trained_parameters(engine.module).items())
            kept.append(torch.cat([p.grad.flatten().double().cpu() for _, p in parameters]))
        original()

    engine.step = step
    train_step(engine, batch, cfg.train)
    state.restore(engine, fresh)
    folders: dict[str, Path] = {}
    for taken in range(1, steps + 1):
        train_step(engine, batch, cfg.train)
        if taken in (OLDER, STEPS):
            now = state.capture(engine)
            known = publish.probe(engine, batch)
            name = "right" if taken == STEPS else "older"
            folders[name] = publish.write_files(out, policy, now, known)
    if folders:
        folders |= {name: _altered(folders["right"], out / name, name) for name in WRONG}
    return Made(kept[0], publish.probe(engine, batch), folders)


WRONG = {
    "negated": lambda b: -b,
    "random": lambda b: torch.randn(b.shape) * b.norm() / b.numel() ** 0.5,
}


def _altered(right: Path, folder: Path, how: str) -> Path:
    folder.mkdir()
    weights = load_file(right / WEIGHTS)
    altered = {n: WRONG[how](value) if "lora_B" in n else value for n, value in weights.items()}
    save_file(altered, folder / WEIGHTS)
    (folder / "adapter_config.json").write_bytes((right / "adapter_config.json").read_bytes())
    return folder


async def verdicts(cfg: Config, made: Made) -> dict[str, str]:
    """What the proof says of each adapter in a real engine."""
    found = {}
    async with running(cfg) as client:
        for name, folder in made.folders.items():
            await client.load(name, str(folder))
            base, tolerance = version_name(cfg.name, 0), cfg.gate.probe_tolerance
            try:
                seen = await prove(client, made.probe, name, base, tolerance=tolerance)
                found[name] = f"passes ({', '.join(f'{k} {v:.1e}' for k, v in seen.items())})"
            except RejectedVersion as error:
                found[name] = f"refused ({error})"
    return found


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, default=Path(MODEL))
    parser.add_argument("--dtypes", nargs="+", default=["float16", "bfloat16"])
    parser.add_argument("--questions", type=int, default=8)
    options = parser.parse_args()
    begun = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = options.model.absolute()
    found: dict[str, Any] = {}
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        Ranks(config(model, root, "float32"))
        batch = sampled_batch(model, device, options.questions)
        exact = train(config(model, root, "float32"), batch, root / "float32", 0).gradient
        for dtype in options.dtypes:
            cfg = config(model, root / dtype, dtype)
            made = train(cfg, batch, root / f"made-{dtype}", STEPS)
            cosine = torch.dot(made.gradient, exact) / made.gradient.norm() / exact.norm()
            found[dtype] = {
                "gradient_cosine": round(cosine.item(), 6),
                "norm_ratio": round((made.gradient.norm() / exact.norm()).item(), 4),
            }
            print(json.dumps(found), flush=True)
            found[dtype] |= asyncio.run(verdicts(cfg, made))
            print(json.dumps(found), flush=True)
    print(json.dumps(found | {"seconds": round(time.monotonic() - begun, 1)}))


if __name__ == "__main__":
    main()
