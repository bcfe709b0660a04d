"""Adapter versions made without training: random LoRA weights, with the probe of what they do."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft import get_peft_model_state_dict as weights_of
from peft import set_peft_model_state_dict as set_weights
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ttrl_server.registry import folders, names
from ttrl_server.types import AdapterVersion, Probe

TEXTS = (
    "What is 7 * 8? Answer with just the number. The answer is 56, because 7 * 8 means seven times",
    "There are 12 months in a year and 7 days in a week. A day has 24 hours, an hour has 60",
    "The capital of France is Paris, the capital of Spain is Madrid, and the capital of Italy is "
    "Rome. All three of them are old",
    "To add two fractions, bring them to the same denominator first. One half and one third are "
    "three sixths and two sixths",
)
LENGTH, START = 24, 12
"""Tokens of a probe sequence, as of what a trainer publishes; and how many are not scored."""

Weights = dict[str, torch.Tensor]
"""By name in PEFT's state."""


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

    def weights(self, seed: int, size: float) -> Weights:
        """Random A of PEFT's own size and B of ``size``: 0.002 changes a few words, 0.3 leaves
        only nonsense."""
        random = torch.Generator().manual_seed(seed)
        made = {}
        for name, tensor in weights_of(self.policy).items():
            spread = size if ".lora_B." in name else tensor.shape[1] ** -0.5
            made[name] = torch.randn(tensor.shape, generator=random) * spread
        return made

    def wear(self, weights: Weights) -> None:
        """The model answers with these weights from now on."""
        set_weights(self.policy, weights)

    def score(self, ids: tuple[int, ...], start: int, *, temperature: float = 1.0) -> list[float]:
        """[L − start] log-probabilities (nats) of known tokens, under what is worn."""
        with torch.no_grad():
            scores = self.policy(torch.tensor([ids])).logits[0, start - 1 : -1]
        logits = scores.float() / temperature
        targets = torch.tensor(ids[start:])[:, None]
        return [float(value) for value in torch.log_softmax(logits, -1).gather(-1, targets)[:, 0]]

    def probe(self, weights: Weights) -> Probe:
        """What an engine must give for these weights if it serves them."""
        self.wear(weights)
        on = tuple(tuple(self.score(ids, START)) for ids in self._probes)
        with self.policy.disable_adapter():
            off = tuple(tuple(self.score(ids, START)) for ids in self._probes)
        return Probe(tuple(self._probes), (START,) * len(self._probes), on, off)

    def stage(
        self, root: Path, number: int, weights: Weights, *, probe: Probe | None = None
    ) -> Path:
        """A folder ``.tmp-…`` as a trainer stages it; ``probe``: another one than its own."""
        staged = root / f".tmp-made-{number}"
        staged.mkdir(parents=True)
        self.policy.peft_config["default"].save_pretrained(str(staged))
        flat = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(flat, staged / names.WEIGHTS)
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
    def read(folder: Path) -> Weights:
        """The weights of a version folder."""
        loaded: Weights = load_file(folder / names.WEIGHTS)
        return loaded
