"""One side of ``benchmarks.training``: our trainer or TRL's in a process of its own, which takes a
step when told to.

The parent writes one line a step on standard input, the name of a way to take it; the answer is one
line of JSON, {"seconds", "peak_mib"}. Everything else that a library prints goes to standard error.
No line means: end.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks import training
from benchmarks.training import CASES, TEMPERATURE, Case, Sampled, config, sampled, vocabulary
from ttrl_server.training import batch as batching
from ttrl_server.training import logprobs, state
from ttrl_server.training.batch import MicroBatch
from ttrl_server.training.passes import Passes
from ttrl_server.training.policy import load_policy, trained_parameters
from ttrl_server.training.ranks import Ranks
from ttrl_server.training.reference import naive_logprobs
from ttrl_server.training.step import build_engine, train_step
from ttrl_server.types import Admission, Batch, Experience, Group, Rollout, Vote

ADAPTER_STD = 0.01
"""Of both factors: with B at zero, as a fresh adapter has it, no gradient reaches A."""


# ---------------------------------------------------------------- what both sides share


class Line:
    """To the parent, and the clock between its order and the answer."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, **answer: float) -> None:
        print(json.dumps(answer), file=self._out, flush=True)

    def order(self) -> str | None:
        return sys.stdin.readline().strip() or None

    def begin(self) -> None:
        # The high-water mark starts again from what is held now.
        Path("/proc/self/clear_refs").write_text("5")
        self._began = time.perf_counter()

    def end(self) -> None:
        seconds = time.perf_counter() - self._began
        _, _, peak = Path("/proc/self/status").read_text().partition("VmHWM:")
        self.say(seconds=seconds, peak_mib=int(peak.split()[0]) / 1024)


def set_adapter(model: nn.Module) -> None:
    """The same weights on both sides, by the parameters' names."""
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(trained_parameters(model).items()):
        parameter.data.copy_(ADAPTER_STD * torch.randn(parameter.shape, generator=generator))


def keep_gradient(model: nn.Module, owner: Any, method: str, file: Path) -> None:
    """Before the next call of what clips the gradient, it is written to a file, whole."""
    original = getattr(owner, method)

    def keeping(*args: Any, **options: Any) -> Any:
        setattr(owner, method, original)
        save_file({name: p.grad.float() for name, p in trained_parameters(model).items()}, file)
        return original(*args, **options)

    setattr(owner, method, keeping)


# ---------------------------------------------------------------- ours


def ours(line: Line, model: str, case: Case, dtype: str, gradient: Path) -> None:
    """Every step goes through ``train_step``; its way says what is substituted in it, and which
    batch it is given."""
    cfg = config(model, dtype)
    Ranks(cfg)
    policy = load_policy(cfg)
    set_adapter(policy)
    fresh = state.initial(policy)
    engine = build_engine(policy, cfg)
    state.restore(engine, fresh)
    keep_gradient(engine.module, engine, "step", gradient)
    batches = cache(partial(_batch, policy, case, vocabulary(model)))
    batches("all")
    last = "ours"
    line.say()
    while way := line.order():
        batch, (substituted, settings) = batches(BATCHES.get(way, "all")), ways(way)
        if way != last:  # what the way before freed would show in the peak of this one
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
        last = way
        with substituted:
            line.begin()
            metrics = train_step(engine, batch, cfg.train.model_copy(update=settings))
            line.end()
        assert metrics["updated"], metrics


def _batch(policy: nn.Module, case: Case, known: int, kind: str) -> Batch:
    apart = {"one_in_four": 0.0, "four": 1e-12}
    groups = sampled(case, known)
    if kind in apart:
        groups = training.one_in_four(case, known, apart[kind])
    return Batch("b", 1, None, tuple(_experience(policy, group) for group in groups), 60.0)


def _experience(policy: nn.Module, sample: Sampled) -> Experience:
    """Sampled by the policy itself, as far as its log-probabilities tell."""
    rollouts = []
    for i, ids in enumerate(sample.completions):
        with torch.no_grad():
            old_T = naive_logprobs(policy, sample.prompt, ids, TEMPERATURE).tolist()
        rollouts.append(Rollout(i, ids, tuple(old_T), "", "stop"))
    vote = Vote((None,) * len(rollouts), (), None, None, None, 0, "full")
    group = Group("q", sample.prompt, tuple(rollouts), 0, TEMPERATURE)
    return Experience("e", "t", group, vote, sample.rewards, Admission(True, "ok"))


# ---------------------------------------------------------------- ours, one saving switched off

BATCHES = {"one_in_four": "one_in_four", "unanimous_too": "four"}
"""Of the ways that need another batch."""


def ways(name: str) -> tuple[AbstractContextManager[Any], dict[str, Any]]:
    """What is substituted and set for one way of taking a step; nothing for ours."""
    substitutes: dict[str, tuple[Any, str, Any]] = {
        "prompt_each_time": (logprobs, "_states", _states_of_whole_rows),
        "uncut": (batching, "_cut", _whole_group),
        "whole_logits": (logprobs, "chosen_logprobs", _logprobs_of_whole_logits),
        "old_pass": (Passes, "_forward", _scored_twice),
    }
    settings: dict[str, dict[str, Any]] = {
        "reference_pass": {"kl": 0.001},
        "checkpointing": {"gradient_checkpointing": "on"},
    }
    context = patch.object(*substitutes[name]) if name in substitutes else nullcontext()
    return context, settings.get(name, {})


def _states_of_whole_rows(causal: Any, prompt: tuple[int, ...], ids: Tensor) -> Any:
    rows = torch.cat([torch.tensor([prompt] * len(ids)), ids[:, :-1]], 1)
    states = causal.base_model(input_ids=rows, use_cache=False).last_hidden_state
    return states[:, len(prompt) - 1 :]


def _whole_group(group: MicroBatch, budget: int) -> Iterator[MicroBatch]:
    yield group


def _logprobs_of_whole_logits(
    head: nn.Module, states: Tensor, ids: Tensor, temperature: float
) -> Tensor:
    logits = head(states).float() / temperature
    return torch.log_softmax(logits, -1).gather(1, ids[:, None]).squeeze(1)


_forward = Passes._forward


def _scored_twice(passes: Passes, micro: MicroBatch) -> Any:
    passes._score_without_graph(micro, "default")
    return _forward(passes, micro)


# ---------------------------------------------------------------- TRL


def trl(line: Line, model: str, case: Case, bf16: bool, gradient: Path) -> None:
    """``GRPOTrainer.train()`` in its own loop; a callback holds it between two steps until the
    parent wants the next.

    A step is all from one end of a step to the next: the loader, ``_prepare_inputs`` (rollout_func,
    rewards, advantages, padding), loss and backward pass of every micro-batch, clipping, the
    optimiser, the scheduler.
    """
    begun = False

    def another() -> bool:
        nonlocal begun
        if begun:
            line.end()
        else:
            line.say()
        begun = bool(line.order())
        if begun:
            line.begin()
        return begun

    groups, folder = sampled(case, vocabulary(model)), gradient.parent / "trl"
    trainer = grpo_trainer(model, groups, folder, another, use_cpu=True, bf16=bf16)
    set_adapter(trainer.model)
    keep_gradient(trainer.model, trainer.accelerator, "clip_grad_norm_", gradient)
    trainer.train()


def grpo_trainer(
    model: Any,
    groups: list[Sampled],
    folder: Path,
    another: Callable[[], bool],
    *,
    rank: int = training.RANK,
    alpha: int = training.ALPHA,
    processing_class: Any = None,
    **settings: Any,
) -> Any:
    """TRL's trainer on these groups, one optimiser step a batch. ``another`` is called before the
    first step and after every one, and says whether the next is wanted."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    class OnOrder(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
        def on_train_begin(self, args: Any, trainer_state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = not another()

        on_step_end = on_train_begin

    completions = len(groups[0].completions)
    rows = len(groups) * completions
    steps = {"max_steps": 1_000_000} | settings
    args = GRPOConfig(
        output_dir=str(folder),
        num_generations=completions,
        gradient_accumulation_steps=rows // GRPOConfig.per_device_train_batch_size,
        **steps,
    )
    return GRPOTrainer(
        model=model,
        args=args,
        reward_funcs=lambda reward, **_: reward,
        processing_class=processing_class,
        train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(len(groups))]}),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, target_modules="all-linear"
        ),
        rollout_func=partial(_rollouts, groups),
        callbacks=[OnOrder()],
    )


def _rollouts(groups: list[Sampled], prompts: list[str], trainer: Any) -> dict[str, Any]:
    """The next completion of each prompt's group, whose number is the prompt."""
    left = [iter(zip(group.completions, group.rewards, strict=True)) for group in groups]
    rows = [(groups[int(prompt)].prompt, *next(left[int(prompt)])) for prompt in prompts]
    columns = map(list, zip(*rows, strict=True))
    named = dict(zip(("prompt_ids", "completion_ids", "reward"), columns, strict=True))
    return named | {"logprobs": None}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("side", choices=["ours", "bfloat16", "trl", "trl_bf16"])
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--model", required=True)
    told = "where the first step's gradient is written"
    parser.add_argument("--gradient", type=Path, required=True, help=told)
    options = parser.parse_args()
    work = (Line(), options.model, CASES[options.case])
    if options.side.startswith("trl"):
        trl(*work, options.side == "trl_bf16", options.gradient)
    else:
        ours(*work, "bfloat16" if options.side == "bfloat16" else "float32", options.gradient)


if __name__ == "__main__":
    main()
