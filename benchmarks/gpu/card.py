"""What a card can do at most: the two ceilings that the other figures are held against.

    python -m benchmarks.gpu.card

A device-to-device copy (bytes read plus written) and a product of two 8192 × 8192 matrices of
random numbers, each timed by events over ten runs after three. The last line is JSON.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache

import torch

SIZE, REPEATS = 8192, 10


def seconds(work: Callable[[], object]) -> float:
    """Mean seconds of one call on the device."""
    for _ in range(3):
        work()
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(REPEATS):
        work()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / REPEATS / 1000


@cache
def matrix_rate(dtype: torch.dtype = torch.bfloat16) -> float:
    """Floating-point operations a second of large products."""
    a, b = (torch.randn(SIZE, SIZE, device="cuda").to(dtype) for _ in range(2))
    return 2.0 * SIZE**3 / seconds(lambda: a @ b)


def copy_rate() -> float:
    """Bytes a second, read plus written."""
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    moved: float = 2.0 * source.nbytes
    return moved / seconds(lambda: target.copy_(source))


def main() -> None:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    print(subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip())
    found = {
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "copy_tb_s": round(copy_rate() / 1e12, 2),
        "bfloat16_tflop_s": round(matrix_rate() / 1e12, 1),
        "float16_tflop_s": round(matrix_rate(torch.float16) / 1e12, 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
