"""An adapter merged into its base model: W + (α / r) · B A for every adapted layer."""

from __future__ import annotations

from pathlib import Path

from ttrl_server.errors import TtrlError


def merge(adapter: Path, to: Path, *, model: str, revision: str | None = None) -> Path:
    """Writes the merged model and its tokenizer to the new folder ``to``. Raises TtrlError."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if to.exists() and any(to.iterdir()):
        raise TtrlError(f"{to} is not empty: name a new folder")
    try:
        base = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=torch.float32)
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload(safe_merge=True)
        merged.save_pretrained(str(to))
        AutoTokenizer.from_pretrained(model, revision=revision).save_pretrained(str(to))
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise TtrlError(f"{model} could not be merged ({why})") from error
    return to
