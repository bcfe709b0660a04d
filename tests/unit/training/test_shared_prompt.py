from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from tests.unit.training.tiny import VOCABULARY, tiny_config, tiny_policy
from ttrl_server.training import logprobs
from ttrl_server.training.logprobs import Scorer, chosen_logprobs, completion_logprobs
from ttrl_server.training.policy import adapter_parameters
from ttrl_server.training.reference import naive_logprobs

tokens = st.integers(0, VOCABULARY - 1)
sequences = st.lists(tokens, min_size=1, max_size=12).map(tuple)


@pytest.fixture(scope="module")
def policy() -> PeftModel:
    return tiny_policy(tiny_config())


def gradient(policy: PeftModel, loss: torch.Tensor) -> torch.Tensor:
    policy.zero_grad()
    loss.backward()
    found = [p.grad for p in adapter_parameters(policy).values()]
    return torch.cat([g.flatten() for g in found if g is not None])


@settings(max_examples=25, deadline=None)
@given(prompt=sequences, completions=st.lists(sequences, min_size=1, max_size=6), seed=st.integers(0, 99))
def test_a_prompt_computed_once_gives_the_log_probabilities_and_gradients_of_the_naive_pass(
    policy: PeftModel, prompt: tuple[int, ...], completions: list[tuple[int, ...]], seed: int
) -> None:
    fast = completion_logprobs(policy, prompt, completions, 0.6)
    naive = torch.cat([naive_logprobs(policy, prompt, completion, 0.6) for completion in completions])
    weights = torch.randn(len(naive), generator=torch.Generator().manual_seed(seed))
    assert (fast - naive).abs().max() < 1e-4
    g_fast, g_naive = gradient(policy, (weights * fast).sum()), gradient(policy, (weights * naive).sum())
    assert torch.cosine_similarity(g_fast, g_naive, dim=0) >= 0.99999
    assert (g_fast.norm() / g_naive.norm()).item() == pytest.approx(1, abs=1e-4)


def test_chunks_do_not_change_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, ids = torch.randn(10, 7, requires_grad=True), torch.arange(10) % 7
    whole = chosen_logprobs(logits, ids, 0.5)
    monkeypatch.setattr(logprobs, "CHUNK_ROWS", 3)
    pieces = chosen_logprobs(logits, ids, 0.5)
    assert torch.equal(whole, pieces)
    (g_whole,), (g_pieces,) = (torch.autograd.grad(value.sum(), logits) for value in (whole, pieces))
    assert torch.allclose(g_whole, g_pieces)


def test_the_reference_policy_is_the_base_model_and_leaves_the_adapter_trainable(policy: PeftModel) -> None:
    prompt, completion = (1, 2, 3), (4, 5)
    reference = Scorer(policy)(prompt, [completion], 1.0, adapter=False)
    with policy.disable_adapter(), torch.no_grad():
        base = naive_logprobs(policy, prompt, completion, 1.0)
    assert torch.allclose(reference, base, atol=1e-5)
    assert not reference.requires_grad
    assert not torch.allclose(Scorer(policy)(prompt, [completion], 1.0), base, atol=1e-2)
    assert len(adapter_parameters(policy)) == 2 * 2 * 7
