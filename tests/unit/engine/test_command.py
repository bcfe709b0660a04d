"""The module that vLLM's server is started by moved between versions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ttrl_server.engine.command import ENTRIES, entry


@pytest.mark.parametrize("module", ENTRIES)
def test_the_server_is_started_by_the_module_that_this_vllm_has(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").write_text("raise RuntimeError('imported')")
    file.touch()
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert entry() == module


def test_without_vllm_on_this_machine_the_command_line_is_that_of_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.setattr("sys.path", [])
    assert entry() == ENTRIES[0]
