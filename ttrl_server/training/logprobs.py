"""Log-probabilities of a group's completions, the prompt computed once, the vocabulary never held
for all tokens.

    prompt [1, P] ──▶ KV cache, graph kept ──repeat──▶ completions [G, T − 1] on top of it
         │                                                  │
         ▼                                                  ▼
    state before the first token                states before the other tokens
         └───────────────────────┬──────────────────────────┘
                                 ▼
                      output head, in chunks

P + G·T tokens run instead of G·(P + T). Completions are padded on the right: causal attention never
looks there, so no mask is needed, and gradients reach the adapter through the cache as they do in
the naive pass (``reference``).
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
"""Float32 logits that exist at once."""
CHECK_TOKENS = 8


class Scorer(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The policy as one module whose forward is a whole group: what DeepSpeed wraps, so that its
    hooks see one pass."""

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
        """For the N = Σ T tokens of some completions, one after the other: [N] log-probabilities,
        nats under softmax(logits / temperature), and [N] the critic's estimate of the state before
        each, where there is a critic.

        Under one adapter, or under none: the reference policy. ``checkpointed`` trades time for
        memory.
        """
        with acting(self.policy, adapter):
            causal = self.policy.get_base_model()
            states = _states_checkpointed if checkpointed else _states
            rows, ids = states(causal, prompt, completions)
            logp = chosen_logprobs(causal.get_output_embeddings(), rows, ids, temperature)
            if not hasattr(self.policy, VALUE_HEAD) or adapter != "default":
                return logp, None
            return logp, getattr(self.policy, VALUE_HEAD)(rows.float()).squeeze(-1)


def completion_logprobs(
    model: PeftModel,
    prompt: tuple[int, ...],
    completions: Sequence[tuple[int, ...]],
    temperature: float,
) -> Tensor:
    """[N] nats under softmax(logits / temperature), N = Σ T: completions one after the other, in
    the order given."""
    logp: Tensor = Scorer(model)(prompt, completions, temperature)[0]
    return logp


def check_head(policy: PeftModel) -> None:
    """Raises ConfigError where a model does more to its logits than its output head: its scores
    would be wrong here."""
    with torch.no_grad():
        vocabulary = policy.get_base_model().get_output_embeddings().weight.shape[0]
        prompt, completion = (0,), tuple(i % vocabulary for i in range(1, CHECK_TOKENS))
        logits = (
            policy(input_ids=torch.tensor([prompt + completion], device=policy.device))
            .logits[0, :-1]
            .float()
        )
        own = torch.log_softmax(logits, -1)[range(len(completion)), list(completion)]
        ours = completion_logprobs(policy, prompt, [completion], 1.0)
    if not torch.allclose(own, ours, atol=0.1, rtol=0.02):
        name = type(policy.get_base_model()).__name__
        raise ConfigError(
            f"{name} changes its logits after the output head, which the trainer does not know "
            "how to repeat: serve this model with train.enabled: false"
        )


# ---------------------------------------------------------------- states

States = tuple[Tensor, Tensor]
"""[N, H] the state before each token of the completions, one completion after the other; [N] the
tokens."""


def _padded(causal: Any, completions: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """[G, T] ids and which of them are real. T is at least 2: at ZeRO stage 3 every rank must
    make both passes."""
    lengths = torch.tensor([len(completion) for completion in completions])
    ids = pad_sequence([torch.tensor(completion) for completion in completions], batch_first=True)
    ids = nn.functional.pad(ids, (0, max(0, 2 - ids.shape[1])))
    return ids.to(causal.device), (torch.arange(ids.shape[1]) < lengths[:, None]).to(causal.device)


def _states(causal: Any, prompt: tuple[int, ...], completions: Sequence[tuple[int, ...]]) -> States:
    ids, real = _padded(causal, completions)
    cache, trunk = DynamicCache(), causal.base_model
    prompt_ids = torch.tensor([prompt], device=causal.device)
    first = trunk(input_ids=prompt_ids, past_key_values=cache, use_cache=True).last_hidden_state[
        :, -1:
    ]
    cache.batch_repeat_interleave(len(completions))
    later = trunk(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True).last_hidden_state
    return torch.cat([first.expand(len(ids), -1, -1), later], 1)[real], ids[real]


def _states_checkpointed(
    causal: Any, prompt: tuple[int, ...], completions: Sequence[tuple[int, ...]]
) -> States:
    """Each layer runs again in the backward pass; that rules out the cache, so every completion
    pays for its prompt."""
    ids, real = _padded(causal, completions)
    prompts = torch.tensor([prompt], device=causal.device).expand(len(ids), -1)
    layers = [
        module for module in causal.modules() if isinstance(module, GradientCheckpointingLayer)
    ]
    causal.gradient_checkpointing_enable({"use_reentrant": False})
    # Only the layers themselves are told that they train: dropout inside them stays off.
    for layer in layers:
        layer.training = True
    try:
        states = causal.base_model(
            input_ids=torch.cat([prompts, ids[:, :-1]], 1), use_cache=False
        ).last_hidden_state
    finally:
        for layer in layers:
            layer.training = False
        causal.gradient_checkpointing_disable()
    return states[:, len(prompt) - 1 :][real], ids[real]


# ---------------------------------------------------------------- the output head


def chosen_logprobs(head: nn.Module, states: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """[N] log softmax(head(states) / temperature) at ``ids``, for states [N, H], float32.

    The gradient by a state is made along with the value, chunk by chunk: every token has one number
    above it in the graph, so one [N, H] tensor is all that the backward pass needs, and no logits
    are kept or computed twice.
    """
    sloping = torch.is_grad_enabled()
    # Once for all chunks: at ZeRO stage 3 the ranks gather it together, and have different numbers
    # of chunks.
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
    """[n] log-probabilities, and [n, H] how each changes with its own state."""
    states = states.detach().requires_grad_(sloping)
    # Past the module's hooks, with which ZeRO would give the weight back after the first chunk.
    logits = nn.functional.linear(states, head.weight, head.bias).float() / temperature
    logp = torch.log_softmax(logits, -1).gather(1, ids[:, None]).squeeze(1)
    return logp.detach(), torch.autograd.grad(logp.sum(), states)[0] if sloping else states


class _Chosen(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """Log-probabilities that are known, with their slopes, as a function of the states."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, logp: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return logp.clone()

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return above[:, None].to(slope.dtype) * slope, None, None
