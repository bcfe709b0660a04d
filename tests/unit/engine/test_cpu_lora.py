"""The CPU LoRA kernels against a row-by-row reference, and inside vLLM's own wrapper."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ttrl_server.engine import cpu_lora
from ttrl_server.errors import EngineError

pytest.importorskip("vllm", reason="these kernels stand in for vLLM's")
import vllm.platforms
from vllm.lora.layers import LoRAMapping
from vllm.lora.ops.torch_ops import lora_ops as stock
from vllm.lora.punica_wrapper import punica_cpu

SLOTS, RANK, HIDDEN = 3, 8, 24
# Of the largest output: 2^-8 is bfloat16's own step.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


@dataclass(frozen=True)
class Case:
    """One call: ``slots`` holds the adapter of each row, −1 for none."""

    slots: list[int]
    inputs: Tensor  # [N, I]
    weights: Tensor  # [L, 1, O, I] or [L, O, I]
    output: Tensor  # [N, O + padding]
    alpha: float

    def through(self, kernels: Any, operation: str, by_sequence: bool, *last: Any) -> Tensor:
        """The output of the sgmv form (with the rows as vLLM passes them) or of the bgmv form."""
        rows: tuple[Any, ...] = (torch.tensor(self.slots),)
        if by_sequence:
            slots, lengths = torch.unique_consecutive(*rows, return_counts=True)
            starts, longest = lengths.cumsum(0) - lengths, int(lengths.max())
            rows = starts, lengths, slots, len(slots), longest, len(self.slots)
        kernel = getattr(kernels, f"{'sgmv' if by_sequence else 'bgmv'}_{operation}")
        output = self.output.clone()
        kernel(self.inputs, self.weights, output, *rows, *last)
        return output


@st.composite
def cases(draw: st.DrawFn, lowest_slot: int = -1) -> Case:
    slot_count, dtypes = draw(st.integers(1, 4)), st.sampled_from([torch.float32, torch.bfloat16])
    run = st.tuples(st.integers(lowest_slot, slot_count - 1), st.integers(1, 5))
    runs = draw(st.lists(run, min_size=1, max_size=12))
    slots = [slot for slot, length in runs for _ in range(length)]
    in_size, out_size = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    padding, one_more = draw(st.integers(0, 3)), draw(st.sampled_from([(), (1,)]))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    return Case(
        slots=slots,
        inputs=torch.randn(len(slots), in_size).to(draw(dtypes)),
        weights=torch.randn(slot_count, *one_more, out_size, in_size).to(draw(dtypes)),
        output=torch.randn(len(slots), out_size + padding).to(draw(dtypes)),
        alpha=draw(st.sampled_from([1.0, 0.25, 2.0])),
    )


def reference(case: Case, *, alpha: float, beta: float, offset: int = 0) -> Tensor:
    """beta · output + alpha · W[slot] @ x by row in float32, of operands in the output's dtype."""
    dtype, out_size = case.output.dtype, case.weights.shape[-2]
    result = case.output.float()
    for n, slot in enumerate(case.slots):
        row = result[n, offset : offset + out_size]
        row *= beta
        if slot >= 0:
            weight = case.weights[slot].reshape(out_size, -1).to(dtype).float()
            row += alpha * weight @ case.inputs[n].to(dtype).float()
    return result


def assert_near(actual: Tensor, expected: Tensor) -> None:
    near = TOLERANCE[actual.dtype] * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(actual.float(), expected.float(), rtol=0, atol=near)


@given(cases(), st.booleans())
@settings(max_examples=150)
def test_shrinking_is_a_product_per_row_and_zero_without_an_adapter(
    case: Case, by_sequence: bool
) -> None:
    output = case.through(cpu_lora, "shrink", by_sequence, case.alpha)
    assert_near(output, reference(case, alpha=case.alpha, beta=0))


@given(cases(), st.booleans(), st.booleans())
@settings(max_examples=150)
def test_expanding_adds_or_sets_a_product_per_row_and_leaves_the_columns_beside_a_slice(
    case: Case, by_sequence: bool, add_inputs: bool
) -> None:
    whole = case.through(cpu_lora, "expand", by_sequence, add_inputs)
    assert_near(whole, reference(case, alpha=1, beta=int(add_inputs)))
    size = case.weights.shape[-2]
    offset = case.output.shape[1] - size
    part = case.through(cpu_lora, "expand_slice", by_sequence, offset, size, add_inputs)
    assert_near(part, reference(case, alpha=1, beta=int(add_inputs), offset=offset))
    assert torch.equal(part[:, :offset], case.output[:, :offset])


@given(cases(lowest_slot=0), st.booleans())
@settings(max_examples=100)
def test_where_every_row_has_an_adapter_the_kernels_agree_with_vllm(
    case: Case, by_sequence: bool
) -> None:
    size = case.weights.shape[-2]
    calls: tuple[tuple[Any, ...], ...] = (
        ("shrink", case.alpha),
        ("expand", True),
        ("expand_slice", 0, size, True),
    )
    for operation, *last in calls:
        ours, theirs = (case.through(k, operation, by_sequence, *last) for k in (cpu_lora, stock))
        assert_near(ours, theirs)


def test_an_adapter_wider_than_the_output_is_cut_to_it() -> None:
    inputs, weights = torch.randn(2, RANK), torch.randn(SLOTS, 1, HIDDEN, RANK)
    output = torch.zeros(2, HIDDEN - 5)
    cpu_lora.bgmv_expand(inputs, weights, output, torch.tensor([1, 1]))
    torch.testing.assert_close(output, (inputs @ weights[1, 0].T)[:, : HIDDEN - 5])


@pytest.mark.parametrize("kernels", [cpu_lora, stock], ids=["ours", "vllm"])
def test_a_single_index_speaks_for_every_row(kernels: Any) -> None:
    inputs, weights = torch.randn(5, HIDDEN), torch.randn(SLOTS, 1, RANK, HIDDEN)
    output = torch.zeros(5, RANK)
    kernels.bgmv_shrink(inputs, weights, output, torch.tensor([1]), 1.0)
    torch.testing.assert_close(output, inputs @ weights[1, 0].T)


def test_indices_that_do_not_cover_the_batch_are_refused() -> None:
    inputs, weights, output = torch.ones(4, 2), torch.ones(1, 1, 2, 2), torch.zeros(4, 2)
    with pytest.raises(ValueError, match="indices for 3 rows do not fit a batch of 4 rows"):
        cpu_lora.bgmv_shrink(inputs, weights, output, torch.tensor([0, 0, 0]), 1.0)


def test_a_broken_adapter_does_not_leak_into_rows_that_do_not_use_it() -> None:
    weights = torch.ones(SLOTS, 1, RANK, HIDDEN)
    weights[1] = float("nan")
    slots = torch.tensor([0, 1, -1] * 4)
    output = torch.zeros(12, RANK)
    cpu_lora.bgmv_shrink(torch.ones(12, HIDDEN), weights, output, slots, 1.0)
    assert output[slots != 1].isfinite().all()
    assert output[slots == 1].isnan().all()


# Inside vLLM's wrapper


@pytest.fixture(autouse=True)
def stock_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM as it ships, whatever an earlier test registered, and put back afterwards."""
    for kernel in cpu_lora.KERNELS:
        monkeypatch.setattr(punica_cpu, kernel.__name__, getattr(stock, kernel.__name__))
    monkeypatch.setattr(vllm.platforms, "current_platform", a_platform(cpu=True))


OF_THE_CPU = "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU"


def a_platform(*, cpu: bool, wrapper: str = OF_THE_CPU) -> SimpleNamespace:
    return SimpleNamespace(is_cpu=lambda: cpu, get_punica_wrapper=lambda: wrapper)


@dataclass(frozen=True)
class Layer:
    """A merged linear layer (two slices, as gate and up) whose every slot holds an adapter."""

    base: Tensor  # [2 · HIDDEN, HIDDEN]
    lora_a: tuple[Tensor, Tensor]  # [SLOTS, 1, RANK, HIDDEN] each
    lora_b: tuple[Tensor, Tensor]  # [SLOTS, 1, HIDDEN, RANK] each

    def output(self, x: Tensor, slots: list[int], *, is_prefill: bool) -> Tensor:
        """Through vLLM's wrapper, with slot s holding the adapter of id s + 1."""
        ids = tuple(slot + 1 for slot in slots)
        wrapper = punica_cpu.PunicaWrapperCPU(64, max_batches=64, device="cpu")
        wrapper.update_metadata(LoRAMapping(ids, ids, is_prefill), [1, 2, 3], SLOTS, vocab_size=100)
        y = x @ self.base.T
        wrapper.add_lora_linear(y, x, self.lora_a, self.lora_b, 0.5, (HIDDEN, HIDDEN))
        return y

    def expected(self, x: Tensor, slots: list[int]) -> Tensor:
        rows = []
        for row, slot in zip(x, slots, strict=True):
            pairs = zip(self.lora_a, self.lora_b, strict=True)
            deltas = [0.5 * b[slot, 0] @ (a[slot, 0] @ row) for a, b in pairs]
            rows.append(self.base @ row + (torch.cat(deltas) if slot >= 0 else 0))
        return torch.stack(rows)


@pytest.fixture
def layer() -> Layer:
    torch.manual_seed(0)
    a = (torch.randn(SLOTS, 1, RANK, HIDDEN), torch.randn(SLOTS, 1, RANK, HIDDEN))
    b = (torch.randn(SLOTS, 1, HIDDEN, RANK), torch.randn(SLOTS, 1, HIDDEN, RANK))
    return Layer(torch.randn(2 * HIDDEN, HIDDEN), a, b)


BATCHES = {
    "one adapter": [1] * 12,
    "no adapter": [-1] * 12,
    "stretches": [-1] * 4 + [0] * 3 + [2] * 5,
    "scattered": [0, -1, 2, -1, 0, 1, -1, 2, 0, 0, -1, 1],
}
both_phases = pytest.mark.parametrize("is_prefill", [True, False], ids=["prefill", "decode"])


@both_phases
@pytest.mark.parametrize("slots", BATCHES.values(), ids=BATCHES.keys())
def test_each_row_of_a_batch_gets_its_own_adapter(
    layer: Layer, slots: list[int], is_prefill: bool
) -> None:
    cpu_lora.register()
    x, without = torch.randn(len(slots), HIDDEN), torch.tensor(slots) < 0
    actual = layer.output(x, slots, is_prefill=is_prefill)
    torch.testing.assert_close(actual, layer.expected(x, slots), rtol=1e-4, atol=1e-3)
    assert torch.equal(actual[without], (x @ layer.base.T)[without])  # base requests: untouched


@both_phases
def test_vllm_alone_still_answers_a_base_request_with_an_adapter(
    layer: Layer, is_prefill: bool
) -> None:
    """When this fails, vLLM has mended its kernels, and the plugin may go."""
    slots = BATCHES["scattered"]
    x, without = torch.randn(len(slots), HIDDEN), torch.tensor(slots) < 0
    change = layer.output(x, slots, is_prefill=is_prefill) - x @ layer.base.T
    assert change[without].abs().max() > 1


# The plugin


@pytest.fixture
def plugin_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """What the plugin's logger says, whether or not vLLM has configured logging here."""
    logger = logging.getLogger("vllm.ttrl_cpu_lora")
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.INFO, logger=logger.name)
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_registering_twice_changes_and_says_nothing_more(
    plugin_log: pytest.LogCaptureFixture,
) -> None:
    cpu_lora.register()
    cpu_lora.register()
    assert all(getattr(punica_cpu, kernel.__name__) is kernel for kernel in cpu_lora.KERNELS)
    assert plugin_log.messages == ["CPU LoRA: ttrl-server's grouped kernels are active"]


def test_on_a_gpu_vllm_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm.platforms, "current_platform", a_platform(cpu=False))
    cpu_lora.register()
    assert vars(punica_cpu)["bgmv_shrink"] is stock.bgmv_shrink


def test_a_vllm_with_other_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punica_cpu, "sgmv_expand", lambda inputs, weights: None)
    with pytest.raises(EngineError, match=r"sgmv_expand takes \(inputs, weights\)"):
        cpu_lora.register()
    monkeypatch.delattr(punica_cpu, "sgmv_expand")
    with pytest.raises(EngineError, match="has no sgmv_expand"):
        cpu_lora.register()
    assert vars(punica_cpu)["bgmv_shrink"] is stock.bgmv_shrink
    platform = a_platform(cpu=True, wrapper="vllm.lora.cpu.Fused")
    monkeypatch.setattr(vllm.platforms, "current_platform", platform)
    with pytest.raises(EngineError, match=r"vllm\.lora\.cpu\.Fused"):
        cpu_lora.register()


def test_importing_the_plugin_does_not_import_vllm() -> None:
    """vLLM survives, unmended, a plugin that fails to import: only ``register`` may fail."""
    check = "import sys, ttrl_server.engine.cpu_lora; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_whole_prompts_at_the_output_head_need_no_index_a_row_while_no_adapter_touches_it() -> None:
    wrapper = SimpleNamespace(sampler_indices=torch.tensor([0, 1]))
    logits, hidden = torch.randn(7, 5), torch.randn(7, 3)
    before, head_a, head_b = logits.clone(), torch.randn(2, 1, 4, 3), torch.zeros(2, 1, 5, 4)
    cpu_lora.add_lora_logits(wrapper, logits, hidden, head_a, head_b, 1.0)
    assert torch.equal(logits, before)
    head_b[1] = 1.0  # the buffer is written to in place when an adapter with a head is loaded
    with pytest.raises(ValueError, match="2 rows do not fit a batch of 7"):
        cpu_lora.add_lora_logits(wrapper, logits, hidden, head_a, head_b, 1.0)


def test_an_adapter_of_the_output_head_is_added_to_the_requests_that_name_it() -> None:
    wrapper = SimpleNamespace(sampler_indices=torch.tensor([1, -1]))
    logits, hidden = torch.zeros(2, 5), torch.randn(2, 3)
    head_a, head_b = torch.randn(2, 1, 4, 3), torch.randn(2, 1, 5, 4)
    cpu_lora.add_lora_logits(wrapper, logits, hidden, head_a, head_b, 1.0)
    torch.testing.assert_close(logits[0], head_b[1, 0] @ (head_a[1, 0] @ hidden[0]))
    assert not logits[1].any()
