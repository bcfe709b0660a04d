"""Log-probabilities of a group's completions. The model runs the prompt once, and logits exist
only for one chunk of tokens at a time.

    prompt [1, P] ──▶ KV cache, graph kept ──repeat──▶ completions [G, T − 1] on top of it
         │                                                  │
         ▼                                                  ▼
    state before the first token                states before the other tokens
         └───────────────────────┬──────────────────────────┘
                                 ▼
                      output head, in chunks

P + G·T tokens run instead of G·(P + T). Completions are padded on the right. Causal attention never
reads the padding, so no mask is needed. Gradients reach the adapter through the cache too, so they
equal those of the naive pass (``reference``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import deepspeed
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from ttrl_server.errors import ConfigError
from ttrl_server.training.policy import VALUE_HEAD, acting

CHUNK_BYTES = 64 * 2**20
"""Most bytes of float32 logits that exist at the same time."""
CHECK_TOKENS = 8


class Scorer(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The module that DeepSpeed wraps. One forward call scores all completions of a micro-batch, so
    DeepSpeed's hooks see one pass."""

    def __init__(self, policy: PeftModel) -> None:
        super().__init__()
        self.policy = policy

    def forward(
        self,
        prompt: tuple[int, ...],
        completions: Sequence[tuple[int, ...]],
        temperature: float,
        adapter: str | None = "default",
        checkpointed: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Returns [N] log-probabilities, nats under softmax(logits / temperature), and, if there is
        a critic, [N] its estimate of the state before each token. N = Σ T are the tokens of all
        completions, one completion after the other.

        ``adapter`` None is the reference policy. ``checkpointed`` needs less memory and more time.
        """
        with acting(self.policy, adapter):
            causal = self.policy.get_base_model()
            ids, real = _padded(completions, causal.device)
            states = (_states_checkpointed if checkpointed else _states)(causal, prompt, ids)[real]
            logp = chosen_logprobs(causal.get_output_embeddings(), states, ids[real], temperature)
            if not hasattr(self.policy, VALUE_HEAD) or adapter != "default":
                return logp, None
            return logp, getattr(self.policy, VALUE_HEAD)(states.float()).squeeze(-1)


def check_head(policy: PeftModel) -> None:
    """Raises ConfigError for a model that changes its logits after the output head: this module
    would compute wrong log-probabilities for it."""
    with torch.no_grad():
        vocabulary = policy.get_base_model().get_output_embeddings().weight.shape[0]
        prompt, completion = (0,), tuple(i % vocabulary for i in range(1, CHECK_TOKENS))
        ids = torch.tensor([prompt + completion], device=policy.device)
        logits = policy(input_ids=ids).logits[0, :-1].float()
        own = torch.log_softmax(logits, -1)[range(len(completion)), list(completion)]
        ours, _ = Scorer(policy)(prompt, [completion], 1.0)
    if not torch.allclose(own, ours, atol=0.1, rtol=0.02):
        name = type(policy.get_base_model()).__name__
        raise ConfigError(
            f"{name} changes its logits after the output head, which the trainer does not know "
            "how to repeat: serve this model with train.enabled: false"
        )


# ---------------------------------------------------------------- states


def _padded(completions: Sequence[tuple[int, ...]], device: Any) -> tuple[Tensor, Tensor]:
    """[G, T] padded ids, and [G, T] whether each id is real. T is at least 2: at ZeRO stage 3 every
    rank must make both passes."""
    lengths = torch.tensor([len(completion) for completion in completions])
    ids = pad_sequence([torch.tensor(completion) for completion in completions], batch_first=True)
    ids = nn.functional.pad(ids, (0, max(0, 2 - ids.shape[1])))
    return ids.to(device), (torch.arange(ids.shape[1]) < lengths[:, None]).to(device)


def _states(causal: Any, prompt: tuple[int, ...], ids: Tensor) -> Tensor:
    """[G, T, H] the state before each token of the completions."""
    cache, trunk = DynamicCache(), causal.base_model
    prompt_ids = torch.tensor([prompt], device=ids.device)
    whole = trunk(input_ids=prompt_ids, past_key_values=cache, use_cache=True).last_hidden_state
    cache.batch_repeat_interleave(len(ids))
    later = trunk(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True).last_hidden_state
    return torch.cat([whole[:, -1:].expand(len(ids), -1, -1), later], 1)


def _states_checkpointed(causal: Any, prompt: tuple[int, ...], ids: Tensor) -> Tensor:
    """Like ``_states``, but each layer runs again in the backward pass. This excludes the cache, so
    the prompt runs once per completion."""
    prompts = torch.tensor([prompt], device=ids.device).expand(len(ids), -1)
    rows = torch.cat([prompts, ids[:, :-1]], 1)
    layers = [layer for layer in causal.modules() if isinstance(layer, GradientCheckpointingLayer)]
    causal.gradient_checkpointing_enable({"use_reentrant": False})
    # Set training mode on the layers alone, not on modules inside them: dropout stays off.
    for layer in layers:
        layer.training = True
    try:
        states: Tensor = causal.base_model(input_ids=rows, use_cache=False).last_hidden_state
    finally:
        for layer in layers:
            layer.training = False
        causal.gradient_checkpointing_disable()
    return states[:, len(prompt) - 1 :]


# ---------------------------------------------------------------- the output head


def chosen_logprobs(head: nn.Module, states: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """[N] log softmax(head(states) / temperature) at ``ids``, for states [N, H], float32.

    Each chunk computes its values and the gradients by its states together. Every token has one
    output, so the backward pass only scales one [N, H] tensor. No logits are kept, and none are
    computed twice.
    """
    sloping = torch.is_grad_enabled()
    # Gather the head once for all chunks: at ZeRO stage 3 all ranks must gather it together, and
    # their numbers of chunks differ.
    with deepspeed.zero.GatheredParameters(list(head.parameters())):
        rows = max(16, CHUNK_BYTES // (4 * len(head.weight)))
        chunks = [
            _with_slope(head, piece, at, temperature, sloping)
            for piece, at in zip(states.detach().split(rows), ids.split(rows), strict=True)
        ]
    logp = torch.cat([value for value, _ in chunks])
    if not sloping:
        return logp
    chosen: Tensor = _Chosen.apply(states, logp, torch.cat([slope for _, slope in chunks]))
    return chosen


def _with_slope(
    head: nn.Module, states: Tensor, ids: Tensor, temperature: float, sloping: bool
) -> tuple[Tensor, Tensor]:
    """[n] log-probabilities, and [n, H] the gradient of each by its own state."""
    states = states.detach().requires_grad_(sloping)
    # Bypass the module's hooks: with them ZeRO would release the weight after the first chunk.
    logits = nn.functional.linear(states, head.weight, head.bias).float() / temperature
    logp = torch.log_softmax(logits, -1).gather(1, ids[:, None]).squeeze(1)
    return logp.detach(), torch.autograd.grad(logp.sum(), states)[0] if sloping else states


class _Chosen(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """Puts log-probabilities with known gradients into the graph, as a function of the states."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, logp: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return logp.clone()

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return above[:, None].to(slope.dtype) * slope, None, None
