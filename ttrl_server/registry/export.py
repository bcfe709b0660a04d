"""Exports a version in the form that PEFT and vLLM load, and uploads it to a hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from ttrl_server.errors import TtrlError
from ttrl_server.registry import folders, preflight
from ttrl_server.registry.names import CONFIG, WEIGHTS


def adapter(root: Path, folder: str, to: Path, *, base_model: str) -> Path:
    """Copies PEFT's two files of a version to the folder ``to``, after preflight; returns ``to``.

    Raises RejectedVersion when preflight fails, TtrlError when ``to`` is not empty.
    """
    version = folders.read(root, folder)
    preflight.check(root, version, base_model=base_model, max_rank=version.rank)
    if to.exists() and any(to.iterdir()):
        raise TtrlError(f"{to} is not empty: name a new folder")
    to.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(root / folder / name, to / name)
    return to


def push(folder: Path, repository: str, *, private: bool, note: str) -> str:
    """Uploads an exported folder to ``owner/name``; returns its address. Raises TtrlError."""
    try:
        import huggingface_hub
    except ImportError:
        raise TtrlError("pushing needs huggingface_hub: pip install 'ttrl-server[train]'") from None
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=note))
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        why = " ".join(str(error).split())[:300]
        raise TtrlError(f"{repository} was not uploaded ({why})") from error
