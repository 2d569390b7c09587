"""A randomly initialised Llama of 40 thousand parameters with a word tokenizer.

Differs from the real base: it knows nothing and its vocabulary is 64 words. It has the same
architecture, chat template and file formats, so the same code trains it in seconds.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from registry.digests import file_digest
from training_jobs.base_model import CHAT_TEMPLATE

WORDS = [f"w{number}" for number in range(50)]
SPECIAL = ["<unk>", "<|im_start|>", "<|im_end|>", "user", "assistant"]


def write_base(directory: Path) -> Path:
    """Model and tokenizer files."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="<unk>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    set_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def write_pairs(path: Path, count: int = 40) -> str:
    """Pairs whose answer is the question's words backwards; returns the file's digest."""
    lines = []
    for number in range(count):
        words = [WORDS[(number * 7 + step * step) % 50] for step in range(3 + number % 3)]
        row = {"input": " ".join([f"w{number}", *words]), "output": " ".join(reversed(words))}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return file_digest(path)
