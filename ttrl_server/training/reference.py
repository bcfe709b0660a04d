"""The training step, top to bottom, as plainly as it can be said.

Each prompt + completion runs alone through the model, no cache, no padding, no DeepSpeed. Far too slow to serve with;
the fast path (``logprobs``, ``step``) is tested against it.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor, nn

from ttrl_server.sections import TrainConfig
from ttrl_server.training.algorithms import grpo
from ttrl_server.training.batch import learnable_completions
from ttrl_server.types import Batch


def reference_step(policy: PeftModel, optimizer: torch.optim.Optimizer, batch: Batch, cfg: TrainConfig) -> float:
    """One GRPO step on a batch; returns the loss. The optimiser holds the adapter's parameters."""
    optimizer.zero_grad()
    loss = reference_loss(policy, batch, cfg)
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in policy.parameters() if p.requires_grad], cfg.grad_clip)
    optimizer.step()
    return loss.item()


def reference_loss(policy: PeftModel, batch: Batch, cfg: TrainConfig) -> Tensor:
    """Token mean over the batch, groups without an advantage left out."""
    losses = []
    for experience in batch.experiences:
        prompt, temperature = experience.group.prompt_token_ids, experience.group.temperature
        for completion in learnable_completions(experience, cfg.std_normalise):
            logp_theta_T = naive_logprobs(policy, prompt, completion.token_ids, temperature)
            with torch.no_grad(), policy.disable_adapter():
                logp_ref_T = naive_logprobs(policy, prompt, completion.token_ids, temperature)
            loss_T = grpo.token_loss(
                logp_theta_T,
                torch.tensor(completion.old_logprobs),
                torch.full_like(logp_ref_T, completion.advantage),
                clip_low=cfg.clip_low,
                clip_high=cfg.clip_high,
                importance_cap=cfg.importance_cap,
                logp_ref=logp_ref_T,
                kl=cfg.kl,
            )
            losses.append(loss_T)
    return torch.cat(losses).mean()


def naive_logprobs(
    model: nn.Module, prompt: tuple[int, ...], completion: tuple[int, ...], temperature: float
) -> Tensor:
    """[T] log-probabilities of a completion after its prompt, nats under softmax(logits / temperature)."""
    logits = model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits[0]
    # The logits at position i are the distribution of token i + 1.
    logits_TV = logits[len(prompt) - 1 : -1].float()
    logp_TV = torch.log_softmax(logits_TV / temperature, -1)
    return logp_TV[torch.arange(len(completion)), torch.tensor(completion)]
