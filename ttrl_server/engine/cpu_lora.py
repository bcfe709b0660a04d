"""LoRA kernels for vLLM on the CPU: one matrix product per adapter instead of one per token.

vLLM's own kernels (``vllm/lora/ops/torch_ops/lora_ops.py``) copy the whole adapter once per token.
They also use the index −1 for a token without an adapter, and in Python this is the last slot: a
base request in a batch with adapter requests is answered by an adapter. The kernels here gather
the rows of a batch by slot, and leave rows of slot −1 alone. The six functions keep vLLM's names,
parameters and arithmetic: they cast operands to the output's dtype and write into the output.

vLLM loads the plugin in each of its processes (entry point ``vllm.general_plugins:
ttrl_cpu_lora``). If a plugin cannot be imported, vLLM only logs this and continues without it. So
this module imports nothing from vLLM at the top: ``register`` raises, and vLLM does not catch that.

Notation: N rows of the batch, I inputs, O outputs (one of the two is the rank), L adapter slots.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ttrl_server.errors import EngineError

SLICED_RUNS = 2
"""For so many stretches of one slot, separate products are cheaper than a gathered one."""

_REMEDY = (
    "Without it a request that names no adapter may be answered by one: use the vLLM ttrl-server "
    "is pinned to."
)

Runs: TypeAlias = tuple[tuple[int, int], ...]  # (slot, length in rows), in batch order
Rows: TypeAlias = slice | Tensor  # a stretch of rows, or their positions [n], int64


@lru_cache(maxsize=64)
def rows_by_slot(runs: Runs, rows: int) -> tuple[tuple[int, Rows], ...]:
    """The rows of each slot; a single index means all ``rows``. Raises ValueError when the runs
    do not cover the rows. Cached, as all layers ask for the same few batches in a step."""
    total = sum(length for _, length in runs)
    if total == 1:
        runs, total = ((runs[0][0], rows),), rows
    if total != rows:
        raise ValueError(f"LoRA indices for {total} rows do not fit a batch of {rows} rows")
    stretches: dict[int, list[slice]] = {}
    start = 0
    for slot, group in groupby(runs, key=lambda run: run[0]):
        end = start + sum(length for _, length in group)
        stretches.setdefault(slot, []).append(slice(start, end))
        start = end
    found: list[tuple[int, Rows]] = []
    for slot, parts in stretches.items():
        if len(parts) <= SLICED_RUNS:
            found += [(slot, part) for part in parts]
        else:
            found.append((slot, torch.cat([torch.arange(p.start, p.stop) for p in parts])))
    return tuple(found)


def add_products(
    output: Tensor, inputs: Tensor, weights: Tensor, runs: Runs, *, alpha: float, beta: float
) -> None:
    """Adds each row's product with the weights of its slot to ``output``, in place.

    Row n of slot s ≥ 0: output[n] = beta · output[n] + alpha · weights[s] @ inputs[n]. Row of slot
    −1: beta · output[n], for beta = 0 or 1. ``output`` [N, O], ``inputs`` [N, I] or [1, I],
    ``weights`` [L, O, I] or [L, 1, O, I].
    """
    inputs = inputs.expand(output.shape[0], -1)
    weights = weights.squeeze(1) if weights.dim() == 4 else weights
    for slot, rows in rows_by_slot(runs, output.shape[0]):
        if slot >= 0:
            target, taken = output[rows], inputs[rows].to(output.dtype)
            target.addmm_(taken, weights[slot].to(output.dtype).T, alpha=alpha, beta=beta)
            if isinstance(rows, Tensor):  # then target is a copy, not a view
                output[rows] = target
        elif beta == 0:
            output[rows] = 0


def _token_runs(lora_indices: Tensor) -> Runs:
    return tuple((slot, 1) for slot in lora_indices.tolist())


def _sequence_runs(lora_indices: Tensor, seq_lens: Tensor) -> Runs:
    return tuple(zip(lora_indices.tolist(), seq_lens.tolist(), strict=True))


def _shrink(inputs: Tensor, weights: Tensor, output: Tensor, runs: Runs, scaling: float) -> None:
    add_products(output[:, : weights.shape[-2]], inputs, weights, runs, alpha=scaling, beta=0)


def _expand(inputs: Tensor, weights: Tensor, output: Tensor, runs: Runs, add_inputs: bool) -> None:
    # Adapter and model may pad their outputs differently.
    width = min(weights.shape[-2], output.shape[1])
    output, weights = output[:, :width], weights[..., :width, :]
    add_products(output, inputs, weights, runs, alpha=1, beta=int(add_inputs))


def bgmv_shrink(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    scaling: float = 1.0,
) -> None:
    """output[:, :rank] = scaling · A[slot] @ inputs, one slot index per row; 0 without adapter."""
    _shrink(inputs, lora_b_weights, output_tensor, _token_runs(lora_indices_tensor), scaling)


def bgmv_expand(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    add_inputs: bool = True,
) -> None:
    """output[:, :width] (+)= B[slot] @ inputs, one slot index per row."""
    _expand(inputs, lora_b_weights, output_tensor, _token_runs(lora_indices_tensor), add_inputs)


def bgmv_expand_slice(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """``bgmv_expand`` into the columns from ``slice_offset`` on."""
    output = output_tensor[:, slice_offset : slice_offset + slice_size]
    bgmv_expand(inputs, lora_b_weights, output, lora_indices_tensor, add_inputs)


def sgmv_shrink(
    inputs: Tensor,
    lora_a_weights: Tensor,
    output_tensor: Tensor,
    b_seq_start_loc: Tensor,
    seq_len_tensor: Tensor,
    lora_indices_tensor: Tensor,
    batches: int,
    max_seq_length: int,
    token_nums: int,
    scaling: float,
) -> None:
    """``bgmv_shrink`` with one slot index per sequence of ``seq_len_tensor`` rows."""
    runs = _sequence_runs(lora_indices_tensor, seq_len_tensor)
    _shrink(inputs, lora_a_weights, output_tensor, runs, scaling)


def sgmv_expand(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    b_seq_start_loc: Tensor,
    seq_len_tensor: Tensor,
    lora_indices_tensor: Tensor,
    batches: int,
    max_seq_length: int,
    token_nums: int,
    add_inputs: bool = False,
) -> None:
    """``bgmv_expand`` with one slot index per sequence of ``seq_len_tensor`` rows."""
    runs = _sequence_runs(lora_indices_tensor, seq_len_tensor)
    _expand(inputs, lora_b_weights, output_tensor, runs, add_inputs)


def sgmv_expand_slice(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    b_seq_start_loc: Tensor,
    seq_len_tensor: Tensor,
    lora_indices_tensor: Tensor,
    batches: int,
    max_seq_length: int,
    token_nums: int,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = False,
) -> None:
    """``bgmv_expand_slice`` with one slot index per sequence of ``seq_len_tensor`` rows."""
    runs = _sequence_runs(lora_indices_tensor, seq_len_tensor)
    output = output_tensor[:, slice_offset : slice_offset + slice_size]
    _expand(inputs, lora_b_weights, output, runs, add_inputs)


def add_lora_logits(
    wrapper: Any,
    y: Tensor,
    x: Tensor,
    lora_a_stacked: Tensor,
    lora_b_stacked: Tensor,
    scale: float,
    *,
    buffer: Tensor | None = None,
    **kwargs: Any,
) -> None:
    """y += (x @ A) @ B for the output head, if an adapter has weights there.

    vLLM has one index per request here, but with ``prompt_logprobs`` one row per prompt token: its
    own kernel then raises, and the engine ends. Adapters of this project have no weights there, so
    nothing is added. Raises ValueError for a foreign adapter that has some.
    """
    if not _any_weight(lora_b_stacked):
        return
    y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
    if buffer is None:
        shape = x.size(0), lora_b_stacked.size(-1)
        buffer = torch.zeros(shape, dtype=torch.float32, device=x.device)
    bgmv_shrink(x, lora_a_stacked, buffer, wrapper.sampler_indices, scale)
    bgmv_expand(buffer, lora_b_stacked, y, wrapper.sampler_indices, add_inputs=True)


_found: dict[tuple[int, int], bool] = {}


def _any_weight(weights: Tensor) -> bool:
    """Whether any weight is not zero; checked again only after a change of the buffer."""
    if weights.is_inference():  # inference tensors have no version counter
        return bool(weights.any())
    state = weights.data_ptr(), weights._version
    if state not in _found:
        _found[state] = bool(weights.any())
    return _found[state]


KERNELS = (bgmv_shrink, bgmv_expand, bgmv_expand_slice, sgmv_shrink, sgmv_expand, sgmv_expand_slice)


def register() -> None:
    """Replaces vLLM's kernels on the CPU; on another platform, or the second time, does nothing.

    Raises EngineError when these kernels do not fit this vLLM's CPU LoRA; vLLM then does not start.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    name = current_platform.get_punica_wrapper()
    if name != "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU":
        unknown = f"vLLM's CPU LoRA is now {name}, unknown to the plugin ttrl_cpu_lora"
        raise EngineError(f"{unknown}. {_REMEDY}")
    from vllm.logger import init_logger
    from vllm.lora.punica_wrapper import punica_cpu

    # This module imports the kernels' names and calls them: they are replaced there.
    if all(getattr(punica_cpu, kernel.__name__, None) is kernel for kernel in KERNELS):
        return
    module = punica_cpu.__name__
    for kernel in KERNELS:
        stock = getattr(punica_cpu, kernel.__name__, None)
        if stock is None:
            missing = f"{module} has no {kernel.__name__} for ttrl_cpu_lora to replace"
            raise EngineError(f"{missing}. {_REMEDY}")
        if _parameters(stock) != _parameters(kernel):
            names = ", ".join(inspect.signature(stock).parameters)
            taken = f"{module}.{kernel.__name__} takes ({names})"
            raise EngineError(f"{taken}: not what ttrl_cpu_lora does. {_REMEDY}")
    for kernel in KERNELS:
        setattr(punica_cpu, kernel.__name__, kernel)
    punica_cpu.PunicaWrapperCPU.add_lora_logits = add_lora_logits
    # Only loggers below "vllm" have a handler in vLLM's processes.
    init_logger("vllm.ttrl_cpu_lora").info("CPU LoRA: ttrl-server's grouped kernels are active")


def _parameters(function: Any) -> list[tuple[str, Any]]:
    return [(each.name, each.default) for each in inspect.signature(function).parameters.values()]
