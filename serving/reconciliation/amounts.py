"""What is compared: requests, prompt tokens and generation tokens, counted together. No I/O."""

from dataclasses import dataclass
from typing import Final, Literal

Measure = Literal["requests", "prompt_tokens", "generation_tokens"]

MEASURES: Final[tuple[Measure, ...]] = ("requests", "prompt_tokens", "generation_tokens")


@dataclass(frozen=True)
class Amounts:
    """One number for each measure; a difference may be negative."""

    requests: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.generation_tokens + other.generation_tokens,
        )

    def __sub__(self, other: "Amounts") -> "Amounts":
        return self + -other

    def __neg__(self) -> "Amounts":
        return Amounts(-self.requests, -self.prompt_tokens, -self.generation_tokens)

    def of(self, measure: Measure) -> int:
        """The number of one measure."""
        return int(getattr(self, measure))


NOTHING: Final = Amounts()
