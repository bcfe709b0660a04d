"""The policy: the base model, frozen, with one float32 LoRA adapter on every linear layer but the output head."""

from __future__ import annotations

import re

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from ttrl_server.config import Config


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
    """Adds the adapter: B is zero, so the policy starts as the base model; A is drawn from ``train.seed``.

    No dropout, bias, saved modules or DoRA: the engine refuses them, and π_θ must be what the engine samples from.
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
    # PEFT writes the path the base was loaded from, which for a hub model is a folder of this machine's cache.
    policy.peft_config["default"].base_model_name_or_path = cfg.model
    return policy.eval()


def adapter_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by the names PEFT gives them in ``adapter_model.safetensors``, which vLLM reads."""
    return {
        re.sub(r"^(policy\.)?(.*)\.default\.weight$", r"\2.weight", name): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
