"""Makes adapters whose answers tell which adapter gave them: each is taught to say one word.

`.venv-train/bin/python -m benchmarks.swap_adapters --base DIR --out DIR WORD…` (seconds a word).
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

PROMPTS = ("Which colour is it?", "Name the colour.", "Say the colour now.", "Colour, please.")

_STEPS = 60
_ENOUGH = 0.02


def main() -> None:
    """Train one adapter for each word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face files of the base")
    parser.add_argument("--base-name", default="llama-8b", help="name that the base is served by")
    parser.add_argument("--out", type=Path, required=True, help="gets one folder for each word")
    parser.add_argument("words", nargs="+")
    arguments = parser.parse_args()
    for word in arguments.words:
        started = time.monotonic()
        steps, loss = _teach(arguments.base, word, arguments.out / word)
        _name_base(arguments.out / word / "adapter_config.json", arguments.base_name)
        seconds = time.monotonic() - started
        sys.stderr.write(f"{word}: {steps} steps, loss {loss:.4f}, {seconds:.0f} s\n")


def _teach(base: Path, word: str, out: Path) -> tuple[int, float]:
    import torch  # noqa: PLC0415  only this step has the training environment
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(
        r=16,
        lora_alpha=32,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        # The upper layers are enough for one word, and the way back through them is short.
        layers_to_transform=list(
            range(model.config.num_hidden_layers // 2, model.config.num_hidden_layers)
        ),
    )
    model = get_peft_model(model, config)
    rows = [_row(tokenizer, prompt, word) for prompt in PROMPTS]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    loss = float("inf")
    steps = 0
    while steps < _STEPS and loss > _ENOUGH:
        steps += 1
        losses = [
            model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
            for ids, labels in rows
        ]
        total = sum(losses) / len(losses)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss = float(total)
    model.save_pretrained(out)
    return steps, loss


def _row(tokenizer: Any, prompt: str, word: str) -> tuple[list[int], list[int]]:
    """Token ids and labels; only the answer is learned."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    asked = tokenizer(text, add_special_tokens=False).input_ids
    answer = tokenizer(" ".join([word] * 4), add_special_tokens=False).input_ids
    return asked + answer, [-100] * len(asked) + answer


def _name_base(path: Path, base_name: str) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": base_name}))


if __name__ == "__main__":
    main()
