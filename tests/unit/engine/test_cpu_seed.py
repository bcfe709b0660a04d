"""The plugin that keeps a seeded request from ending a CPU engine (tests/e2e has the engine)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from ttrl_server.engine.cpu_seed import without_discarded_generators


def runner(*discarded: bool) -> Any:
    generators = {row: torch.Generator().manual_seed(row) for row in range(len(discarded))}
    batch = SimpleNamespace(num_reqs=len(discarded), generators=generators)
    # A buffer, longer than the batch.
    mask = SimpleNamespace(np=numpy.array([*discarded, True, True]))
    return SimpleNamespace(input_batch=batch, discard_request_mask=mask)


def stock(self: Any) -> set[int]:
    """What vLLM does to the generators of discarded samples, and which ones it sees."""
    for row in numpy.nonzero(self.discard_request_mask.np[: self.input_batch.num_reqs])[0]:
        if (generator := self.input_batch.generators.get(int(row))) is not None:
            generator.set_offset(generator.get_offset() - 4)
    return set(self.input_batch.generators)


def test_stock_bookkeeping_ends_on_a_seeded_request_that_is_still_prefilled() -> None:
    with pytest.raises(RuntimeError, match="does not use offset"):
        stock(runner(False, True))


def test_a_request_still_prefilled_has_no_generator_to_wind_back() -> None:
    batch = runner(False, True, False)
    before = dict(batch.input_batch.generators)
    assert without_discarded_generators(stock)(batch) == {0, 2}
    assert batch.input_batch.generators == before


def test_the_generators_are_back_also_when_bookkeeping_fails() -> None:
    def failing(self: Any) -> None:
        raise RuntimeError("out of memory")

    batch = runner(True)
    with pytest.raises(RuntimeError, match="out of memory"):
        without_discarded_generators(failing)(batch)
    assert set(batch.input_batch.generators) == {0}


def test_vllms_cpu_runner_is_wrapped_once() -> None:
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    from ttrl_server.engine import cpu_seed

    cpu_seed.register()
    once = CPUModelRunner._bookkeeping_sync
    cpu_seed.register()
    assert CPUModelRunner._bookkeeping_sync is once
    assert once.__wrapped__.__qualname__.endswith("GPUModelRunner._bookkeeping_sync")
