"""Models of a given shape with random weights: enough to measure speed and memory."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft import get_peft_model_state_dict as weights_of
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config
from transformers.initialization import no_init_weights

SHAPES = {
    "qwen3-8b": Qwen3Config(
        vocab_size=151936,
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=False,
    ),
    "tiny": Qwen3Config(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    ),
}
WEIGHT_STD = 0.02


def random_model(shape: str, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """The shape's model on ``device``; every matrix is drawn anew, the norms are ones."""
    with torch.device(device), no_init_weights():
        model = AutoModelForCausalLM.from_config(
            SHAPES[shape], dtype=dtype, attn_implementation="sdpa"
        )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, WEIGHT_STD)
        else:
            parameter.data.fill_(1)
    return model


def matrix_parameters(shape: str) -> int:
    """Parameters that every token is multiplied with: all but the table of embeddings."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(SHAPES[shape])
    table: int = model.get_input_embeddings().weight.numel()
    whole: int = sum(parameter.numel() for parameter in model.parameters())
    return whole - table


def write_folder(shape: str, folder: Path) -> Path:
    """The shape's configuration and a tokenizer of one word a token, without weights: for vLLM's
    ``--load-format dummy``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = SHAPES[shape]
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(folder)
    words = WordLevel({f"w{i}": i for i in range(config.vocab_size)}, unk_token="w0")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0", eos_token="w1")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    fast.save_pretrained(folder)
    return folder


def write_adapter(shape: str, folder: Path, rank: int, seed: int, size: float = 0.01) -> Path:
    """A LoRA adapter of random weights on every linear layer but the head, in PEFT's files."""
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(SHAPES[shape])
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        policy = get_peft_model(base, config)
    draw = torch.Generator().manual_seed(seed)
    made = {
        name: (torch.randn(like.shape, generator=draw) * size).to(torch.float16)
        for name, like in weights_of(policy).items()
    }
    folder.mkdir(parents=True)
    policy.peft_config["default"].save_pretrained(str(folder))
    save_file(made, folder / "adapter_model.safetensors")
    return folder
