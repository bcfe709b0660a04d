"""A seeded request must not end a CPU engine: a plugin of vLLM's for the CPU platform only.

When a prompt is prefilled in pieces, vLLM samples after each piece, throws the token away and winds
the request's generator back by one draw (``GPUModelRunner._bookkeeping_sync``). A CPU generator
cannot be wound back: torch raises "CPU Generator does not use offset", and the engine ends with
every request in it. Here such a request's generator is out of sight at that moment. Its stream of
random numbers is then a draw further on than on a GPU, which changes nothing but which of the
equally likely samples a seed stands for.
"""

from __future__ import annotations

import functools
from typing import Any

from ttrl_server.errors import EngineError


def register() -> None:
    """Wraps the CPU runner's bookkeeping; elsewhere, or the second time, does nothing."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    original = getattr(CPUModelRunner, "_bookkeeping_sync", None)
    if original is None:
        raise EngineError(
            "vLLM's CPU runner has no _bookkeeping_sync, which the plugin ttrl_cpu_seed wraps"
        )
    if not hasattr(original, "__wrapped__"):
        CPUModelRunner._bookkeeping_sync = without_discarded_generators(original)


def without_discarded_generators(bookkeeping: Any) -> Any:
    """``bookkeeping`` of a model runner, which no longer sees the generators of requests still
    being prefilled."""

    @functools.wraps(bookkeeping)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        batch = self.input_batch
        generators = batch.generators
        discarded = self.discard_request_mask.np[: batch.num_reqs]
        batch.generators = {
            row: generator for row, generator in generators.items() if not discarded[row]
        }
        try:
            return bookkeeping(self, *args, **kwargs)
        finally:
            batch.generators = generators

    return wrapped
