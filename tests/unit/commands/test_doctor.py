"""The doctor is asked in a process of its own; the libraries it looks at are a folder of small
stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import python
from ttrl_server.commands import doctor

PIP = """
import json, pathlib, sys
pathlib.Path(__file__).with_name("pip-was-told.json").write_text(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """Importable, empty modules in the place of all that is required; pip only writes down what
    it is told."""
    for name in (*doctor.NEEDED, *doctor.UNUSED):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "pip.py").write_text(PIP)
    return tmp_path


def installed(libraries: Path, name: str, source: str) -> None:
    """A distribution, as the metadata on the path have it, whose module holds ``source``."""
    (libraries / f"{name}.py").write_text(source)
    folder = libraries / f"{name}-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")


def examine(libraries: Path, *flags: str) -> tuple[int, str]:
    done = python("-m", "ttrl_server.commands.doctor", *flags, cwd=libraries)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_all_well_is_one_line_with_every_library(libraries: Path) -> None:
    installed(libraries, "peft", "")
    code, said = examine(libraries)
    assert code == 0
    assert said.startswith("imports: torch")
    assert len(said.splitlines()) == 1
    assert [name for name in doctor.NEEDED if name not in said] == []
    assert "peft 9.9" in said


def test_a_library_that_does_not_import_is_named_with_its_reason(libraries: Path) -> None:
    (libraries / "deepspeed.py").write_text("raise ImportError('no module named mpi')")
    # A broken native library does not just raise.
    (libraries / "vllm.py").write_text("import os\nos.abort()")
    code, said = examine(libraries)
    assert code == 1
    assert "deepspeed does not import: ImportError: no module named mpi" in said
    assert "vllm does not import: exit -6" in said
    assert "imports:" not in said


def test_a_library_built_for_another_torch_is_mended_only_when_asked(libraries: Path) -> None:
    reason = "operator torchvision::nms does not exist"
    installed(libraries, "torchvision", f"raise RuntimeError({reason!r})")
    installed(libraries, "torchaudio", "")
    told = libraries / "pip-was-told.json"
    code, said = examine(libraries)
    assert code == 1
    assert "torchvision do not import" in said
    assert "--mend" in said
    assert not told.exists()
    code, said = examine(libraries, "--mend")
    assert code == 0
    assert "removing torchvision:" in said
    assert json.loads(told.read_text()) == ["uninstall", "--quiet", "--yes", "torchvision"]
