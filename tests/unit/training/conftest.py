from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch.distributed as dist

from tests.unit.training.tiny import tiny_config
from ttrl_server.training.ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """A process group of one, as a trainer without a launcher makes it."""
    yield Ranks(tiny_config())
    dist.destroy_process_group()
