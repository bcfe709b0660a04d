"""The training step in its simplest form.

The model runs each prompt + completion alone, without cache, padding or DeepSpeed. This is far too
slow for real training. Tests compare the fast path (``logprobs``, ``step``) with this module.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor, nn

from ttrl_server.settings.sections import TrainConfig
from ttrl_server.training.algorithms import ALGORITHMS
from ttrl_server.training.algorithms.core import Tokens
from ttrl_server.training.batch import learnable
from ttrl_server.types import Batch


def reference_step(
    policy: PeftModel, optimizer: torch.optim.Optimizer, batch: Batch, cfg: TrainConfig
) -> float:
    """Takes one step on a batch; returns the loss. ``optimizer`` has the adapter's parameters."""
    optimizer.zero_grad()
    loss = reference_loss(policy, batch, cfg)
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in policy.parameters() if p.requires_grad], cfg.grad_clip)
    optimizer.step()
    return float(loss.item())


def reference_loss(policy: PeftModel, batch: Batch, cfg: TrainConfig) -> Tensor:
    """The loss of a batch. Groups without an advantage are left out."""
    algorithm = ALGORITHMS[cfg.algorithm]
    knobs = algorithm.knobs(cfg)
    losses = []
    for group in learnable(batch, cfg):
        for completion in group.completions:
            scored = (group.prompt, completion.token_ids, group.temperature)
            logp_T = naive_logprobs(policy, *scored)
            with torch.no_grad(), policy.disable_adapter():
                ref_T = naive_logprobs(policy, *scored)
            tokens = Tokens(
                logp=logp_T,
                old=torch.tensor(completion.old_logprobs),
                advantage=torch.full_like(ref_T, completion.advantage),
                lengths=torch.tensor([len(completion.token_ids)]),
                ref=ref_T,
            )
            losses.append(algorithm.loss(tokens, knobs) * completion.weight)
    return torch.cat(losses).sum()


def naive_logprobs(
    model: nn.Module, prompt: tuple[int, ...], completion: tuple[int, ...], temperature: float
) -> Tensor:
    """[T] log-probabilities of a completion after its prompt, nats under softmax(logits /
    temperature)."""
    logits = model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits[0]
    # The logits at position i are the distribution of token i + 1.
    logits_TV = logits[len(prompt) - 1 : -1].float()
    logp_TV = torch.log_softmax(logits_TV / temperature, -1)
    return logp_TV[torch.arange(len(completion)), torch.tensor(completion)]
