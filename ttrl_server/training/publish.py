"""The trainer's part of the files of a new version.

``registry.folders`` makes a version from these files.
"""

from __future__ import annotations

import math
import uuid
from itertools import islice, zip_longest
from pathlib import Path
from shutil import rmtree

import msgspec
import torch
from peft import PeftModel

from ttrl_server.registry import names
from ttrl_server.training import state
from ttrl_server.training.state import Engine, TrainerState
from ttrl_server.types import Batch, Probe

KL_TOKENS = 256
"""Completion tokens on which the distance from the base model is estimated: two forward passes."""
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


def kl_to_base(engine: Engine, batch: Batch) -> dict[str, float]:
    """``kl_base``: k3 estimate of KL(adapter ‖ base) at temperature 1, nats a token of the parent's
    samples, as many of each question; ``kl_tokens``: the number of these tokens.

    Every rank calls this. One token that the adapter finds unlikely adds exp(base − adapter): from
    a few tokens the estimate says little.
    """
    penalties: list[float] = []
    groups = [experience.group for experience in batch.experiences]
    for group in groups:
        left, taken = max(1, KL_TOKENS // len(groups)), []
        for rollout in group.rollouts:
            if left and rollout.token_ids:
                taken.append(rollout.token_ids[:left])
                left -= len(taken[-1])
        if taken:
            prompt, adapters = group.prompt_token_ids, ("default", None)
            with torch.no_grad():
                on, off = (engine(prompt, taken, 1.0, adapter=which)[0] for which in adapters)
            penalties += ((off - on).exp() - (off - on) - 1).tolist()
    tokens = len(penalties)
    return {"kl_base": math.fsum(penalties) / max(1, tokens), "kl_tokens": float(tokens)}


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
