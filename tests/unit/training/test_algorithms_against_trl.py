"""Our losses and TRL's, value and gradient by log π_θ, on the same random log-probabilities.

TRL's trainers are built as its users build them, around a Llama of no size, and asked for the loss
of a batch; only the pass through the model is replaced, by the log-probabilities given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from tests.unit.training.by_hand import knobs, weights
from ttrl_server.training.algorithms import ALGORITHMS
from ttrl_server.training.algorithms.core import Aggregate, Tokens

LENGTHS = ((1,), (3, 1, 7, 4), (12, 12), (5, 2, 9, 1, 1, 30))
LONGEST = 32

BY_SEQUENCE = {"loss_type": "grpo", "importance_sampling_level": "sequence"}
GRPO_CASES: list[tuple[str, Aggregate, float, dict[str, Any]]] = [
    # ours, how tokens add up, how far π_θ is from π_old (nats a token), TRL's settings
    ("grpo", "sequence", 0.3, {"loss_type": "grpo", "epsilon": 0.2}),
    ("grpo", "token", 0.3, {"loss_type": "dapo", "epsilon": 0.2}),
    ("grpo", "constant", 0.3, {"loss_type": "dr_grpo", "epsilon": 0.2}),
    ("dapo", "token", 0.3, {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28}),
    # some completions inside the narrow window, some beyond
    ("gspo", "sequence", 1e-3, BY_SEQUENCE | {"epsilon": 3e-4, "epsilon_high": 4e-4}),
    ("cispo", "token", 1.5, {"loss_type": "cispo", "epsilon_high": 5.0}),
]


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize(("name", "aggregate", "drift", "settings"), GRPO_CASES)
def test_a_loss_of_the_grpo_family_is_trls(
    name: str,
    aggregate: Aggregate,
    drift: float,
    settings: dict[str, Any],
    beta: float,
    tmp_path: Path,
) -> None:
    trainer = grpo_trainer(tmp_path, **settings)
    trainer.beta = beta
    for seed, lengths in enumerate(LENGTHS * 2):
        tokens = random_tokens(seed, lengths, drift, with_reference=beta > 0)
        loss = ours(name, tokens, aggregate, importance="off", kl=beta)
        compare(loss, trls(trainer, tokens), tokens)


@pytest.mark.parametrize("importance", ["truncate", "mask"])
def test_an_importance_correction_is_trls_of_the_same_name(importance: str, tmp_path: Path) -> None:
    """TRL corrects for the engine apart from PPO's ratio, which is 1 in a first step: so our
    clip is opened wide."""
    trainer = grpo_trainer(tmp_path, loss_type="dapo")
    trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
    for seed, lengths in enumerate(LENGTHS * 2):
        tokens = random_tokens(seed, lengths, drift=1.0)
        ratio = torch.exp(tokens.logp.detach() - tokens.old)
        correction = ratio * ((ratio >= 0.5) & (ratio <= 2.0))
        if importance == "truncate":
            correction = ratio.clamp(max=2.0)
        inputs = {
            "old_per_token_logps": padded(tokens.logp.detach(), tokens),
            "importance_sampling_ratio": padded(correction, tokens),
        }
        found = ours("grpo", tokens, "token", importance=importance, clip_low=1.0, clip_high=1e9)
        compare(found, trls(trainer, tokens, **inputs), tokens)


def test_rloos_loss_is_trls(tmp_path: Path) -> None:
    """Without a penalty: TRL's is part of the reward, ours of the loss."""
    trainer = built(RLOOTrainer, RLOOConfig, tmp_path, beta=0.0, epsilon=0.2)
    for seed, lengths in enumerate(LENGTHS * 2):
        tokens = random_tokens(seed, lengths, drift=0.1)
        theirs = trls(trainer, tokens, old_logps=tokens.sums(tokens.old))
        compare(ours("rloo", tokens, "sequence", importance="off"), theirs, tokens)


def compare(loss: Tensor, theirs: Tensor, tokens: Tokens) -> None:
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-10, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, tokens.logp)
    (their_gradient,) = torch.autograd.grad(theirs, tokens.logp)
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-10, atol=1e-12)


def ours(name: str, tokens: Tokens, aggregate: Aggregate, **changed: Any) -> Tensor:
    algorithm = ALGORITHMS[name]
    loss = algorithm.loss(tokens, knobs(algorithm, **changed))
    return (loss * weights(tokens, aggregate, LONGEST)).sum()


def trls(trainer: Any, tokens: Tokens, **inputs: Tensor) -> Tensor:
    """TRL's loss of the completions as one batch; ``inputs`` beyond or instead of what every
    loss of GRPO's takes."""
    logp = padded(tokens.logp, tokens)
    ids = torch.zeros_like(logp, dtype=torch.long)
    mask = padded(torch.ones_like(tokens.old), tokens).long()
    scored = logp, torch.zeros_like(logp), None
    trainer._get_per_token_logps_and_entropies = lambda *args, **kwargs: scored
    batch = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(mask[:, :1]),
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": padded(tokens.advantage, tokens)[:, 0],
        "old_per_token_logps": padded(tokens.old, tokens),
        "ref_per_token_logps": None if tokens.ref is None else padded(tokens.ref, tokens),
        "num_items_in_batch": tokens.lengths.sum(),
    }
    loss: Tensor = trainer._compute_loss(trainer.model, batch | inputs)
    return loss


def padded(per_token: Tensor, tokens: Tokens) -> Tensor:
    """[B, T]"""
    return pad_sequence(list(per_token.split(tokens.lengths.tolist())), batch_first=True)


def random_tokens(
    seed: int, lengths: tuple[int, ...], drift: float, *, with_reference: bool = False
) -> Tokens:
    generator = torch.Generator().manual_seed(seed)

    def normal(count: int) -> Tensor:
        return torch.randn(count, generator=generator, dtype=torch.float64)

    total = sum(lengths)
    old = -normal(total).abs()
    return Tokens(
        logp=(old + drift * normal(total)).requires_grad_(),
        old=old,
        advantage=normal(len(lengths)).repeat_interleave(torch.tensor(lengths)),
        lengths=torch.tensor(lengths),
        ref=old + 0.5 * normal(total) if with_reference else None,
    )


def grpo_trainer(directory: Path, **settings: Any) -> Any:
    """With DeepSeekMath's penalty, like ours; by default TRL multiplies k3 by the ratio
    (DeepSeek-V3.2)."""
    return built(GRPOTrainer, GRPOConfig, directory, use_bias_correction_kl=False, **settings)


def built(trainer: Any, config: Any, directory: Path, **settings: Any) -> Any:
    widths = {"vocab_size": 4, "hidden_size": 8, "intermediate_size": 8}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 1, "pad_token_id": 0}
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "a": 2}, unk_token="<pad>"))
    ends = {"pad_token": "<pad>", "eos_token": "</s>"}
    settings |= {"per_device_train_batch_size": 2, "num_generations": 2}
    settings |= {"max_completion_length": LONGEST, "use_cpu": True, "bf16": False}
    made = trainer(
        model=LlamaForCausalLM(LlamaConfig(**widths, **layers)),
        reward_funcs=lambda **_: [0.0],
        args=config(str(directory), report_to="none", **settings),
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 2),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, **ends),
    )
    made.current_gradient_accumulation_steps = 1  # As Trainer.train sets it.
    return made
