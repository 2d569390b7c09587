"""Pairs as token rows: the prompt is context, the answer is what the loss is taken on."""

from collections.abc import Iterable
from typing import Any

from training_jobs.pairs import Pair


def tokenize(
    pairs: Iterable[Pair], tokenizer: Any, *, answer_tokens: int | None
) -> list[dict[str, Any]]:
    """Token rows for TRL: `input_ids` and `completion_mask` (1 on answer tokens), lists of int.

    The prompt is rendered by the model's own chat template, as the server renders it; the answer
    ends with the token at which the server stops, unless `answer_tokens` cuts it short.
    """
    rows = []
    for pair in pairs:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": pair.input}], add_generation_prompt=True, return_dict=False
        )
        answer = tokenizer(pair.output, add_special_tokens=False)["input_ids"]
        answer = [*answer, tokenizer.eos_token_id][:answer_tokens]
        rows.append(
            {
                "input_ids": [*prompt, *answer],
                "completion_mask": [0] * len(prompt) + [1] * len(answer),
            }
        )
    return rows
