"""Pairs as token rows: the prompt is context, the answer is what the loss is taken on."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from training_jobs.pairs import Pair

_BATCHES_IN_A_BUCKET = 16


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


def in_batches(lengths: Sequence[int], *, batch_size: int, steps: int, seed: int) -> list[int]:
    """Row indices in training order: `steps` batches of `batch_size` one after the other.

    Rows of like length share a batch, so little of it is padding. The order depends on the
    arguments alone, so that a resumed run sees the batches that an uninterrupted one would have.
    Less than an epoch takes the head of the file, where collectors put breadth.
    """
    generator = random.Random(seed)  # noqa: S311 - a reproducible order, no secret
    wanted = steps * batch_size
    order: list[int] = []
    while len(order) < wanted:
        epoch = list(range(min(len(lengths), wanted)))
        generator.shuffle(epoch)
        order += _bucketed(epoch, lengths, batch_size, generator)
    return order[:wanted]


def _bucketed(
    rows: Sequence[int], lengths: Sequence[int], batch_size: int, generator: random.Random
) -> list[int]:
    window = batch_size * _BATCHES_IN_A_BUCKET
    batches = []
    for start in range(0, len(rows), window):
        like = sorted(rows[start : start + window], key=lambda row: lengths[row])
        batches += [like[i : i + batch_size] for i in range(0, len(like), batch_size)]
    generator.shuffle(batches)
    return [row for batch in batches for row in batch]
