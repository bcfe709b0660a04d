from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.training.tiny import VOCABULARY, slope, tiny_config, tiny_policy
from ttrl_server.errors import ConfigError
from ttrl_server.training import logprobs
from ttrl_server.training.logprobs import Scorer, check_head, chosen_logprobs
from ttrl_server.training.policy import trained_parameters
from ttrl_server.training.reference import naive_logprobs

tokens = st.integers(0, VOCABULARY - 1)
sequences = st.lists(tokens, min_size=1, max_size=12).map(tuple)


@pytest.fixture(scope="module")
def policy() -> PeftModel:
    return tiny_policy(tiny_config())


@settings(max_examples=25)
@given(
    prompt=sequences,
    completions=st.lists(sequences, min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_a_prompt_computed_once_gives_the_log_probabilities_and_gradients_of_the_naive_pass(
    policy: PeftModel, prompt: tuple[int, ...], completions: list[tuple[int, ...]], seed: int
) -> None:
    fast, _ = Scorer(policy)(prompt, completions, 0.6)
    naive = torch.cat([naive_logprobs(policy, prompt, ids, 0.6) for ids in completions])
    weights = torch.randn(len(naive), generator=torch.Generator().manual_seed(seed))
    assert (fast - naive).abs().max() < 1e-4
    g_fast, g_naive = (slope(policy, (weights * logp).sum()) for logp in (fast, naive))
    assert torch.cosine_similarity(g_fast, g_naive, dim=0) >= 0.99999
    assert (g_fast.norm() / g_naive.norm()).item() == pytest.approx(1, abs=1e-4)


def test_chunks_do_not_change_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    head = torch.nn.Linear(5, 4000, bias=False).requires_grad_(False)
    states, ids = torch.randn(40, 5, requires_grad=True), torch.arange(40)
    plain = torch.log_softmax(head(states) / 0.5, -1)[range(40), ids]
    whole = chosen_logprobs(head, states, ids, 0.5)
    monkeypatch.setattr(logprobs, "CHUNK_BYTES", 1)
    pieces = chosen_logprobs(head, states, ids, 0.5)
    above = torch.randn(40)
    (expected,) = torch.autograd.grad((above * plain).sum(), states)
    for logp in (whole, pieces):
        assert torch.allclose(logp, plain, atol=1e-6)
        (found,) = torch.autograd.grad((above * logp).sum(), states)
        assert torch.allclose(found, expected, atol=1e-6)


def test_no_tensor_of_all_tokens_times_the_vocabulary_ever_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_BYTES", 1)
    most = 0

    class Sees(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal most
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.dim() > 1 and out.shape[-1] == VOCABULARY:
                most = max(most, out.numel() // VOCABULARY)
            return out

    policy = tiny_policy(tiny_config())
    with Sees():
        Scorer(policy)((1, 2, 3), [tuple(range(100))], 1.0)[0].sum().backward()
    assert 0 < most <= 16 or most == policy.config.hidden_size  # the output head's own weights


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_a_checkpointed_pass_gives_the_same_gradients(
    policy: PeftModel, temperature: float
) -> None:
    prompt, completions = (1, 2, 3), [(4, 5), (6, 7, 8, 9), (10,)]
    weights, slopes = torch.randn(7), []
    for flag in (False, True):
        logp, _ = Scorer(policy)(prompt, completions, temperature, checkpointed=flag)
        slopes.append(slope(policy, (weights * logp).sum()))
    assert torch.allclose(*slopes, atol=1e-4)
    assert not any(module.training for module in policy.modules())


def test_a_model_that_bends_its_logits_is_refused(policy: PeftModel) -> None:
    check_head(policy)
    causal = policy.get_base_model()
    with (
        causal.register_forward_hook(lambda _m, _a, out: setattr(out, "logits", out.logits.tanh())),
        pytest.raises(ConfigError, match="LlamaForCausalLM"),
    ):
        check_head(policy)


def test_the_reference_policy_is_the_base_model_and_leaves_the_adapter_trainable(
    policy: PeftModel,
) -> None:
    prompt, completion = (1, 2, 3), (4, 5)
    with torch.no_grad():
        reference = Scorer(policy)(prompt, [completion], 1.0, adapter=None)[0]
        with policy.disable_adapter():
            base = naive_logprobs(policy, prompt, completion, 1.0)
        ours = Scorer(policy)(prompt, [completion], 1.0)[0]
    assert torch.allclose(reference, base, atol=1e-5)
    assert not torch.allclose(ours, base, atol=1e-2)
    assert len(trained_parameters(policy)) == 2 * 2 * 7
