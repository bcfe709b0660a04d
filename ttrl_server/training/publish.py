"""The trainer's part of the files of a new version.

``registry.folders`` makes a version from these files.
"""

from __future__ import annotations

import math
import uuid
from itertools import chain, islice, zip_longest
from pathlib import Path
from shutil import rmtree

import msgspec
import torch
from peft import PeftModel

from ttrl_server.registry import names
from ttrl_server.training import state
from ttrl_server.training.state import Engine, TrainerState
from ttrl_server.types import Batch, Probe

PROBE_SEQUENCES = 4
PROBE_TOKENS = 24
"""The engine scores these tokens twice before every swap, beside clients' requests. So they are as
few as will identify the weights."""
PROBE_PROMPT = 12
"""Prompt tokens of a probe sequence. Only the last ones are used, so that a long prompt leaves
space for completion tokens."""


def probe(engine: Engine, batch: Batch) -> Probe:
    """Scores a few sequences of the batch with the adapter on and off, at temperature 1. Every rank
    calls this."""
    # Use many questions: the first rollout of every question comes before any second rollout.
    groups = [experience.group for experience in batch.experiences]
    rows = zip_longest(*(group.rollouts for group in groups))
    found = (
        (group.prompt_token_ids[-PROBE_PROMPT:], rollout.token_ids)
        for row in rows
        for group, rollout in zip(groups, row, strict=True)
        if rollout is not None and rollout.token_ids
    )
    known = [
        (prompt, ids[: PROBE_TOKENS - len(prompt)])
        for prompt, ids in islice(found, PROBE_SEQUENCES)
    ]

    def scores(adapter: str | None) -> tuple[tuple[float, ...], ...]:
        with torch.no_grad():
            logps = [engine(prompt, [ids], 1.0, adapter=adapter)[0] for prompt, ids in known]
        return tuple(tuple(logp.tolist()) for logp in logps)

    whole, start = [prompt + ids for prompt, ids in known], [len(prompt) for prompt, _ in known]
    return Probe(tuple(whole), tuple(start), scores("default"), scores(None))


def kl_to_base(known: Probe) -> float:
    """k3 estimate of KL(adapter ‖ base), nats a token at temperature 1, on the probe's tokens."""
    adapter, base = map(chain.from_iterable, (known.adapter_logprobs, known.base_logprobs))
    gaps = [off - on for on, off in zip(adapter, base, strict=True)]
    penalties = [math.exp(gap) - gap - 1 for gap in gaps]
    return math.fsum(penalties) / max(1, len(penalties))


def write_files(root: Path, policy: PeftModel, trainer: TrainerState, known: Probe) -> Path:
    """Writes PEFT's files, ``probe.json`` and ``trainer.pt`` to a temporary folder below ``root``.

    ``folders.publish`` makes the folder durable. Raises OSError (a full disk) and leaves no folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{names.STAGED}{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        policy.peft_config["default"].save_pretrained(str(folder))
        state.save(trainer, folder)
        (folder / names.PROBE).write_bytes(msgspec.json.encode(known))
    except OSError:
        rmtree(folder, ignore_errors=True)
        raise
    return folder
