"""The policy: the frozen base model with one float32 LoRA adapter on every linear layer except the
output head.

PRIME has a second adapter on the same base model: its implicit reward model, which is never served.
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
    """Loads the base model ``model`` in ``train.dtype`` with a fresh adapter, on the CPU."""
    disable_progress_bar()  # The log has one line per event.
    base = AutoModelForCausalLM.from_pretrained(
        cfg.model,
        revision=cfg.revision,
        dtype=getattr(torch, cfg.train.dtype),
        attn_implementation="sdpa",
    )
    return with_adapter(base, cfg)


def with_adapter(base: PreTrainedModel, cfg: Config) -> PeftModel:
    """Adds the adapter. B is zero, so the policy starts equal to the base model. A is random, from
    ``train.seed``.

    No dropout, bias, saved modules or DoRA: the engine refuses them, and π_θ must be the policy
    that the engine samples from.
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
    # Set the model's name: PEFT stores the path that the base model was loaded from, and for a hub
    # model that path is a folder in this machine's cache.
    policy.peft_config["default"].base_model_name_or_path = cfg.model
    return policy.eval()


@contextmanager
def acting(policy: PeftModel, adapter: str | None) -> Iterator[None]:
    """Makes ``adapter`` active inside the block; None is the reference policy. All adapters stay
    trainable.

    Score other adapters before the policy's own: switching adapters must not happen while a graph
    waits for its backward pass.
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
    """Makes all adapters trainable; PEFT makes only the active adapter trainable."""
    for name, parameter in policy.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(True)


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """All trained parameters by name: the adapter with the names that PEFT and vLLM use, then the
    reward model, then the value head."""
    return {
        re.sub(r"\.default\.weight$", ".weight", name.removeprefix("policy.")): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def is_served(name: str) -> bool:
    """Whether a trained parameter belongs to the adapter that is published."""
    return name.startswith("base_model.") and f".{REWARD_MODEL}." not in name
