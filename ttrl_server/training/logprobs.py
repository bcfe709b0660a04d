"""Log-probabilities of a group's completions, the prompt computed once.

    prompt [1, P] ──▶ KV cache, graph kept ──repeat──▶ completions [G, T − 1] on top of it
         └─▶ logits of the first token                      └─▶ logits of the others

P + G·T tokens run instead of G·(P + T). Completions are padded on the right: causal attention never looks there, so
no mask is needed, and gradients reach the adapter through the cache as they do in the naive pass (``reference``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

CHUNK_ROWS = 1024
"""Positions whose float32 distributions over the vocabulary exist at once."""


class Scorer(nn.Module):
    """The policy as one module whose forward is a whole group: what DeepSpeed wraps, so that its hooks see one pass."""

    def __init__(self, policy: PeftModel) -> None:
        super().__init__()
        self.policy = policy

    def forward(
        self, prompt: tuple[int, ...], completions: Sequence[tuple[int, ...]], temperature: float, adapter: bool = True
    ) -> Tensor:
        """[N] log-probabilities; ``adapter=False`` is the reference policy, without gradient."""
        if adapter:
            return completion_logprobs(self.policy, prompt, completions, temperature)
        with torch.no_grad(), self.policy.disable_adapter():
            return completion_logprobs(self.policy, prompt, completions, temperature)


def completion_logprobs(
    model: nn.Module, prompt: tuple[int, ...], completions: Sequence[tuple[int, ...]], temperature: float
) -> Tensor:
    """[N] nats under softmax(logits / temperature), N = Σ T: completions one after the other, in the order given."""
    device = next(model.parameters()).device
    lengths = torch.tensor([len(completion) for completion in completions], device=device)
    ids = pad_sequence([torch.tensor(completion) for completion in completions], batch_first=True).to(device)
    cache = DynamicCache()
    prompt_ids = torch.tensor([prompt], device=device)
    out = model(input_ids=prompt_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    first = torch.log_softmax(out.logits[0, -1].float() / temperature, -1)[ids[:, :1]]
    if ids.shape[1] == 1:
        return first[:, 0]
    cache.batch_repeat_interleave(len(completions))
    logits = model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True).logits
    rest = chosen_logprobs(logits.flatten(0, 1), ids[:, 1:].flatten(), temperature).view(len(completions), -1)
    real = torch.arange(ids.shape[1], device=device) < lengths[:, None]
    return torch.cat([first, rest], 1)[real]


def chosen_logprobs(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """[N] log softmax(logits / temperature) at ``ids``, for logits [N, V].

    Float32, in chunks that are computed again in the backward pass: no second copy of the distributions is kept.
    """
    pieces = zip(torch.split(logits, CHUNK_ROWS), torch.split(ids, CHUNK_ROWS), strict=True)
    return torch.cat([checkpoint(_chosen, piece, at, temperature, use_reentrant=False) for piece, at in pieces])


def _chosen(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits.float() / temperature, -1).gather(1, ids[:, None]).squeeze(1)
