"""Adapter versions made without training: random LoRA weights of a chosen size, with the probe
of what they do."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ttrl_server.registry import folders, names
from ttrl_server.types import AdapterVersion, Probe

TEXTS = (
    "What is 7 * 8? Answer with just the number. The answer is 56, because 7 * 8 means seven "
    "times eight, and seven times eight is fifty-six, as everybody who has learned the tables by "
    "heart will say at once when he is asked.",
    "There are 12 months in a year and 7 days in a week. A day has 24 hours, an hour has 60 "
    "minutes, and a minute has 60 seconds. So a day has 1440 minutes, and a week has 10080 of "
    "them, which is quite a lot when one has to wait.",
    "The capital of France is Paris, the capital of Spain is Madrid, and the capital of Italy is "
    "Rome. All three of them are old, and each of them lies on a river: the Seine, the Manzanares "
    "and the Tiber, in the same order.",
    "To add two fractions, bring them to the same denominator first. One half and one third are "
    "three sixths and two sixths, which makes five sixths together. Then see whether the result "
    "can be written in lower terms; here not.",
)
"""Of the length of what a trainer publishes (``training.publish``)."""
LENGTH, START = 24, 12
"""Tokens of a probe sequence, and how many of them are not scored."""


class Maker:
    """Makes versions for one model; rank and alpha are those of the server's preset."""

    def __init__(self, model: Path, *, rank: int = 16, alpha: int = 32) -> None:
        self.model, self.rank = model, rank
        tokenizer = AutoTokenizer.from_pretrained(model)
        self._probes = [tuple(tokenizer(text).input_ids[:LENGTH]) for text in TEXTS]
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0)
        config.base_model_name_or_path = str(model)
        self.policy: PeftModel = get_peft_model(base, config).eval()

    def weights(self, seed: int, size: float) -> dict[str, torch.Tensor]:
        """Random A of PEFT's own size and B of ``size``: 0.002 changes a few words, 0.3 leaves
        only nonsense."""
        random = torch.Generator().manual_seed(seed)
        made = {}
        for name, tensor in get_peft_model_state_dict(self.policy).items():
            spread = size if ".lora_B." in name else tensor.shape[1] ** -0.5
            made[name] = torch.randn(tensor.shape, generator=random) * spread
        return made

    def wear(self, weights: dict[str, torch.Tensor]) -> None:
        """The model answers with these weights from now on."""
        set_peft_model_state_dict(self.policy, weights)

    def score(self, ids: tuple[int, ...], start: int, *, temperature: float = 1.0) -> list[float]:
        """[L − start] log-probabilities (nats) of known tokens, under what is worn."""
        with torch.no_grad():
            scores = self.policy(torch.tensor([ids])).logits[0, start - 1 : -1]
        logits = scores.float() / temperature
        targets = torch.tensor(ids[start:])[:, None]
        return [float(value) for value in torch.log_softmax(logits, -1).gather(-1, targets)[:, 0]]

    def probe(self, weights: dict[str, torch.Tensor]) -> Probe:
        """What an engine must give for these weights if it serves them."""
        self.wear(weights)
        on = tuple(tuple(self.score(ids, START)) for ids in self._probes)
        with self.policy.disable_adapter():
            off = tuple(tuple(self.score(ids, START)) for ids in self._probes)
        return Probe(tuple(self._probes), (START,) * len(self._probes), on, off)

    def stage(
        self,
        root: Path,
        number: int,
        weights: dict[str, torch.Tensor],
        *,
        probe: Probe | None = None,
    ) -> Path:
        """A folder ``.tmp-…`` as a trainer stages it, with another ``probe`` than its own where
        one is given."""
        staged = root / f".tmp-made-{number}"
        staged.mkdir(parents=True)
        self.policy.peft_config["default"].save_pretrained(str(staged))
        save_file(
            {name: tensor.contiguous() for name, tensor in weights.items()}, staged / names.WEIGHTS
        )
        (staged / names.PROBE).write_bytes(msgspec.json.encode(probe or self.probe(weights)))
        (staged / names.TRAINER_STATE).write_bytes(b"no optimiser")
        return staged

    def publish(self, root: Path, staged: Path, number: int, *, parent: int = 0) -> AdapterVersion:
        """The staged folder as version ``number``."""
        return folders.publish(
            root,
            staged,
            number=number,
            base_model=str(self.model),
            parent=parent,
            rank=self.rank,
            step=number,
            metrics={},
        )

    @staticmethod
    def read(folder: Path) -> dict[str, torch.Tensor]:
        """The weights of a version folder."""
        loaded: dict[str, torch.Tensor] = load_file(folder / names.WEIGHTS)
        return loaded
