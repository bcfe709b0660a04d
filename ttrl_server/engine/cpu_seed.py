"""A vLLM plugin, for the CPU only: without it, a request with a seed can end the engine.

When vLLM prefills a prompt in pieces, it samples a token after each piece and discards it. It then
sets the request's random generator back by one draw (``GPUModelRunner._bookkeeping_sync``). A CPU
generator cannot go back: torch raises "CPU Generator does not use offset", and the engine ends with
all its requests. The plugin hides the generators of such requests from this step. Such a generator
is then one draw ahead of a GPU's: the seed gives another, equally likely sample.
"""

from __future__ import annotations

import functools
from typing import Any

from ttrl_server.errors import EngineError


def register() -> None:
    """Wraps the CPU runner's bookkeeping; on another platform, or the second time, does nothing."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    original = getattr(CPUModelRunner, "_bookkeeping_sync", None)
    if original is None:
        missing = "vLLM's CPU runner has no _bookkeeping_sync, which the plugin ttrl_cpu_seed wraps"
        raise EngineError(missing)
    if not hasattr(original, "__wrapped__"):
        CPUModelRunner._bookkeeping_sync = without_discarded_generators(original)


def without_discarded_generators(bookkeeping: Any) -> Any:
    """Wraps ``bookkeeping``: it does not see the generators of requests in prefill."""

    @functools.wraps(bookkeeping)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        batch, discarded = self.input_batch, self.discard_request_mask.np
        generators = batch.generators
        batch.generators = {row: each for row, each in generators.items() if not discarded[row]}
        try:
            return bookkeeping(self, *args, **kwargs)
        finally:
            batch.generators = generators

    return wrapped
