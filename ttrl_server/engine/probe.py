"""Proof: the engine must give known tokens the log-probabilities that the trainer measured.

The trainer publishes the log-probability of each token of K known sequences, with the adapter on
and off. The engine scores the same tokens. With the adapter off, engine and trainer differ only by
rounding. With the adapter on, they may differ by a few times that much. An engine that ignores the
adapter gives *exactly* the same numbers on and off: this is found even after a very small step.
(docs/decisions.md: why not a slope of the engine's change against the trainer's.)
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import chain

from ttrl_server.engine.client import EngineClient
from ttrl_server.errors import RejectedVersion
from ttrl_server.types import Probe

NOTHING = 1e-6
"""An adapter with a smaller change (root mean square, nats) changes nothing."""

ROUNDING = 1e-3
"""Nats by which engine and trainer may always differ: rounding in float32."""


async def prove(
    client: EngineClient, probe: Probe, name: str, base: str, *, tolerance: float
) -> dict[str, float]:
    """Raises RejectedVersion("probe", …) unless ``name`` in this engine is the trained adapter."""
    sequences = list(zip(probe.token_ids, probe.start, strict=True))
    # Both at once: wrong LoRA kernels show in a mixed batch.
    asked = [client.score(ids, at, each) for each in (name, base) for ids, at in sequences]
    rows = await asyncio.gather(*asked)
    adapter, without = _flat(rows[: len(sequences)]), _flat(rows[len(sequences) :])
    return compare(probe, adapter, without, tolerance=tolerance)


def compare(
    probe: Probe, adapter: Sequence[float], without: Sequence[float], *, tolerance: float
) -> dict[str, float]:
    """Root mean squares (nats a token) of the change, and of the differences on and off.

    ``adapter`` and ``without``: the engine's log-probability (nats) of every scored token.
    Raises RejectedVersion("probe", …).
    """
    trained, base = _flat(probe.adapter_logprobs), _flat(probe.base_logprobs)
    change, on, off = _rms(trained, base), _rms(adapter, trained), _rms(without, base)
    if not math.isfinite(change):
        wrong = "the trainer's own log-probabilities are not finite"
    elif change <= NOTHING:
        wrong = f"the adapter changes nothing (rms {change:.1e} nats in the trainer)"
    elif not (math.isfinite(on) and math.isfinite(off)):
        wrong = "the engine's log-probabilities are not finite"
    elif list(adapter) == list(without):
        wrong = "the engine answers as if there were no adapter"
    elif on > tolerance * off + ROUNDING:
        wrong = (
            f"engine and trainer differ by {on:.2e} nats with the adapter on, by {off:.2e} with it "
            f"off (the adapter's own change is {change:.2e}): these are not the weights that were "
            "trained"
        )
    else:
        return {"probe_change": change, "probe_on": on, "probe_off": off}
    raise RejectedVersion("probe", wrong)


def _flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return list(chain.from_iterable(rows))


def _rms(a: Sequence[float], b: Sequence[float]) -> float:
    """Root mean square of the difference."""
    return math.dist(a, b) / math.sqrt(len(a)) if a else 0.0
