"""The policy: the base model, frozen, with one float32 LoRA adapter on every linear layer but the
output head.

PRIME keeps a second adapter on the same base, its implicit reward model; nobody else ever sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from ttrl_server.settings.config import Config
from ttrl_server.training.algorithms import ALGORITHMS

REWARD_MODEL = "reward"
"""Name of PRIME's adapter."""
VALUE_HEAD = "value_head"
"""Name of PPO's critic, one linear layer on the policy's own trunk."""


def load_policy(cfg: Config) -> PeftModel:
    """The base model of ``model`` in ``train.dtype`` with a fresh adapter, on the CPU."""
    disable_progress_bar()  # The log is one line an event.
    base = AutoModelForCausalLM.from_pretrained(
        cfg.model,
        revision=cfg.revision,
        dtype=getattr(torch, cfg.train.dtype),
        attn_implementation="sdpa",
    )
    return with_adapter(base, cfg)


def with_adapter(base: PreTrainedModel, cfg: Config) -> PeftModel:
    """Adds the adapter: B is zero, so the policy starts as the base model; A is drawn from
    ``train.seed``.

    No dropout, bias, saved modules or DoRA: the engine refuses them, and π_θ must be what the
    engine samples from.
    """
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        revision=cfg.revision,
        r=cfg.train.rank,
        lora_alpha=cfg.train.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules="all-linear",
    )
    torch.manual_seed(cfg.train.seed)
    policy = get_peft_model(base, lora, autocast_adapter_dtype=True)
    assert isinstance(policy, PeftModel)
    if ALGORITHMS[cfg.train.algorithm].implicit_reward:
        policy.add_adapter(REWARD_MODEL, lora)
        _train_all(policy)
    if ALGORITHMS[cfg.train.algorithm].critic:
        head = nn.Linear(base.get_input_embeddings().weight.shape[1], 1)
        nn.init.zeros_(head.weight)  # the critic starts at 0 for every state
        nn.init.zeros_(head.bias)
        policy.add_module(VALUE_HEAD, head)
    # PEFT writes the path the base was loaded from, which for a hub model is a folder of this
    # machine's cache.
    policy.peft_config["default"].base_model_name_or_path = cfg.model
    return policy.eval()


@contextmanager
def acting(policy: PeftModel, adapter: str | None) -> Iterator[None]:
    """The model under one adapter, or under none: the reference policy. All adapters go on being
    trained.

    Another adapter than the policy's must come before it: switching touches no graph that waits for
    its backward pass.
    """
    if adapter == "default":
        yield
    elif adapter is None:
        with policy.disable_adapter():
            yield
        _train_all(policy)
    else:
        policy.set_adapter(adapter)
        try:
            _train_all(policy)
            yield
        finally:
            policy.set_adapter("default")
            _train_all(policy)


def _train_all(policy: PeftModel) -> None:
    """PEFT trains the active adapter only."""
    for name, parameter in policy.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(True)


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Everything that learns: the adapter by the names PEFT and vLLM use, then a reward model,
    then a value head."""
    return {
        re.sub(r"^(policy\.)?(.*)\.default\.weight$", r"\2.weight", name).removeprefix(
            "policy."
        ): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def is_served(name: str) -> bool:
    """Whether a trained parameter belongs to the adapter that is published."""
    return name.startswith("base_model.") and f".{REWARD_MODEL}." not in name
