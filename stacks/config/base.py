"""Scalar types and the base of every configuration model."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def written_as(pattern: str, form: str) -> AfterValidator:
    """Check that all of a text matches; an error shows the form, such as `cr-<digits>`."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"must be written as {form}")
        return text

    return AfterValidator(check)


Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
# vLLM's own choices for --max-lora-rank (0.33.0, vllm/config/lora.py).
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
CustomerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")]
# Relative and without `..`, below the state directory; or an object in a bucket.
DataUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/)?"
        r"[A-Za-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*$"
    ),
]
Reason = Annotated[str, StringConstraints(min_length=10)]


class Config(BaseModel):
    """Unknown keys are errors, values do not change, defaults are checked like given ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
