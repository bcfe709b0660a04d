"""A version is there whole or not at all, and its name is used once."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.registry.build import BASE, publish, stage
from ttrl_server.errors import RejectedVersion
from ttrl_server.registry import folders, preflight

ROOT = Path(__file__).parents[3]
FILES = ["adapter_config.json", "adapter_model.safetensors", "probe.json", "trainer.pt"]

PUBLISH_AND_DIE_BEFORE_THE_RENAME = """
import os, signal, sys
from pathlib import Path
from tests.unit.registry.build import publish

def die(event, arguments):
    if event == "os.rename":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
publish(Path(sys.argv[1]))
"""


def test_a_published_version_is_read_as_it_was_described(tmp_path: Path) -> None:
    version = publish(tmp_path, 7)
    assert version.sha256 == {
        name: hashlib.sha256((tmp_path / version.folder / name).read_bytes()).hexdigest()
        for name in FILES
    }
    assert version.folder == f"v000007-{version.sha256['adapter_model.safetensors'][:8]}"
    assert (version.number, version.parent, version.base_model) == (7, 6, BASE)
    assert version.metrics == {"loss": 0.25}
    assert folders.read(tmp_path, version.folder) == version
    assert [path.name for path in tmp_path.iterdir()] == [version.folder]


def test_a_number_is_used_once_even_for_other_weights(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    again = stage(tmp_path, seed=99)
    with pytest.raises(RejectedVersion, match="number 1 is taken"):
        publish(tmp_path, 1, again)
    assert again.is_dir()


def test_a_publisher_that_is_killed_leaves_only_what_sweep_removes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUBLISH_AND_DIE_BEFORE_THE_RENAME, str(tmp_path)]
    died = subprocess.run(command, cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".tmp-")
    assert (leftover / "manifest.json").is_file()
    assert folders.sweep(tmp_path, set()) == [leftover.name]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_a_version_without_one_of_its_files_is_not_published(tmp_path: Path, name: str) -> None:
    staged = stage(tmp_path)
    (staged / name).unlink()
    with pytest.raises(RejectedVersion, match="must hold"):
        publish(tmp_path, 1, staged)


def test_a_file_nobody_knows_is_not_published(tmp_path: Path) -> None:
    staged = stage(tmp_path)
    (staged / "README.md").write_text("from a library")
    with pytest.raises(RejectedVersion, match=r"README\.md"):
        publish(tmp_path, 1, staged)


def test_a_step_that_diverged_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(RejectedVersion, match="metric loss is nan"):
        publish(tmp_path, metrics={"loss": float("nan")})


def test_only_a_staged_folder_of_this_root_is_published(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    with pytest.raises(RejectedVersion, match="is not a folder named"):
        publish(tmp_path / "root", 1, stage(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    "folder", ["", ".", "..", "../v000001-00000000", "v000001-00000000/", "/etc", "v1", "v٠٠٠٠٠١-0"]
)
def test_only_a_plain_version_name_is_ever_looked_up(tmp_path: Path, folder: str) -> None:
    for look_up in (folders.read, folders.locate, folders.remove, folders.strip_trainer_state):
        with pytest.raises(RejectedVersion, match="is not the name of a version"):
            look_up(tmp_path, folder)


def test_a_link_in_place_of_a_version_is_refused(tmp_path: Path) -> None:
    version = publish(tmp_path)
    (tmp_path / "v000002-00000000").symlink_to(version.folder)
    with pytest.raises(RejectedVersion, match="is not a folder in"):
        folders.read(tmp_path, "v000002-00000000")


@pytest.mark.parametrize(
    "manifest", [None, b"", b"{", b"[]", b'{"number": "1"}', b"\xff", b'{"a":' + b"[" * 100_000]
)
def test_a_missing_or_malformed_manifest_is_refused(tmp_path: Path, manifest: bytes | None) -> None:
    path = tmp_path / publish(tmp_path).folder / "manifest.json"
    path.unlink()
    if manifest is not None:
        path.write_bytes(manifest)
    with pytest.raises(RejectedVersion, match=r"manifest\.json cannot be read"):
        folders.read(tmp_path, path.parent.name)


def test_a_manifest_of_another_folder_rejects_the_version(tmp_path: Path) -> None:
    version = publish(tmp_path)
    (tmp_path / version.folder).rename(tmp_path / "v000002-00000000")
    with pytest.raises(RejectedVersion, match="describes"):
        folders.read(tmp_path, "v000002-00000000")


def test_sweep_removes_only_its_own_that_nothing_refers_to(tmp_path: Path) -> None:
    served, orphan = publish(tmp_path, 1), publish(tmp_path, 2)
    staged = stage(tmp_path)
    (tmp_path / "ledger.jsonl").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / "mine").mkdir()
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "precious").touch()
    (tmp_path / ".tmp-link").symlink_to(outside)
    gone = sorted([staged.name, ".tmp-link", orphan.folder])
    assert folders.sweep(tmp_path, {served.folder}) == gone
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {served.folder, "ledger.jsonl", "README.md", "mine"}
    assert (outside / "precious").exists()


def test_a_removed_version_may_be_removed_again(tmp_path: Path) -> None:
    version = publish(tmp_path)
    folders.remove(tmp_path, version.folder)
    folders.remove(tmp_path, version.folder)
    assert list(tmp_path.iterdir()) == []


def test_a_version_without_its_trainer_state_can_still_be_served(tmp_path: Path) -> None:
    version = publish(tmp_path)
    folders.strip_trainer_state(tmp_path, version.folder)
    folders.strip_trainer_state(tmp_path, version.folder)
    assert not (tmp_path / version.folder / "trainer.pt").exists()
    preflight.check(tmp_path, folders.read(tmp_path, version.folder), base_model=BASE, max_rank=16)


def test_a_root_that_is_not_there_yet_holds_no_versions(tmp_path: Path) -> None:
    assert folders.numbers(tmp_path / "none") == set()
    assert folders.sweep(tmp_path / "none", set()) == []
