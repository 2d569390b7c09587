"""What model servers must have counted, as the ledger's records tell it. No I/O.

The ledger's side of a comparison is what it recorded of an interval: every request that ended in
it, and the tokens that are billed (those of failed and unmeasured requests are not). A model server
counts attempts and all tokens that it worked on. The causes that follow from the records:

    wasted_cascade  an answer that the cascade threw away; exact when its tokens are known
    retry           attempts after the first: up to one request, its prompt and an answer each
    cut_off         billed answers that broke off: the server may have gone on for a moment, up to a
                    whole answer; a gateway, which counts at the end, may have counted nothing
    failed          may never have arrived, or may have been worked on, up to a whole answer
    refused         the server's own refusal: no tokens, and a proxy before it may have said it
    unmeasured      as failed: nothing was reported
    orphan          admitted by a router that crashed: up to two attempts of a whole answer

A request that was in progress while counters were read (`in_flight`), or while nobody could read
them (`pod_restart`, `not_sampled`), may have been counted wholly, partly or not at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from serving.reconciliation.amounts import NOTHING, Amounts
from serving.reconciliation.coverage import WindowCause
from serving.reconciliation.differences import Bound
from serving.router.bounds import MAX_ATTEMPTS

Outcome = Literal[
    "answered", "cut_off", "failed", "refused", "unmeasured", "wasted", "wasted_unmeasured"
]


@dataclass(frozen=True)
class Tally:
    """Records of the ledger that ended in the same way and lie in the same place in time."""

    outcome: Outcome
    inside: bool
    """Whether they ended in the interval."""
    window: WindowCause | None
    """Why it is not certain that they were counted; None where it is."""
    requests: int
    prompt_tokens: int = 0
    """As reported; 0 where nothing was."""
    generation_tokens: int = 0
    retries: int = 0
    """Attempts after each request's first."""
    retried_prompt_tokens: int = 0
    """Reported prompt tokens times retries, request by request."""

    @property
    def amounts(self) -> Amounts:
        """What was reported."""
        return Amounts(self.requests, self.prompt_tokens, self.generation_tokens)


@dataclass(frozen=True)
class CounterRules:
    """How a kind of server counts, and how much one request can be."""

    model_len: int
    """Most tokens of a prompt and one answer to it."""
    choices: int
    """Most answers that one request may ask for."""
    several: bool = False
    """Whether requests for several answers were seen: a server counts their prompt for each."""
    counts_partial: bool = True
    """Whether the tokens of an answer that broke off are counted."""

    @property
    def known_choices(self) -> int:
        """Most answers that a request with a known number of tokens asked for."""
        return self.choices if self.several else 1

    def work(self, attempts: int) -> Amounts:
        """The most that so many attempts of which nothing is known can have been."""
        tokens = attempts * self.choices * self.model_len
        return Amounts(attempts, tokens, tokens)


@dataclass(frozen=True)
class Expectation:
    """The ledger's side of a comparison, and what else the server may have counted."""

    ledger: Amounts
    bounds: tuple[Bound, ...]


def expect(tallies: Iterable[Tally], rules: CounterRules) -> Expectation:
    """Sum up the ledger's side and the bounds of its causes."""
    ledger = NOTHING
    bounds: list[Bound] = []
    for tally in tallies:
        billed, causes = _certain(tally, rules)
        least = sum((cause.least for cause in causes), billed)
        if tally.inside:
            ledger += billed
            bounds += causes
            if tally.window is not None:
                bounds.append(Bound(tally.window, -least, NOTHING))
        elif tally.window is not None:
            most = sum((cause.most for cause in causes), billed)
            repeated = (rules.known_choices - 1) * most.prompt_tokens
            bounds.append(Bound(tally.window, NOTHING, most + Amounts(0, repeated)))
    return Expectation(ledger, tuple(bounds))


def open_bound(requests: int, cause: Literal["orphan", "in_flight"], rules: CounterRules) -> Bound:
    """Bound of requests that were admitted and of whose end nothing is known."""
    return Bound(cause, NOTHING, rules.work(MAX_ATTEMPTS * requests))


def choices(extra: int, rules: CounterRules) -> Bound:
    """Bound of prompts that were counted once for each of several answers to them.

    Args:
        extra: Answers beyond the first of each prompt, as the server counted them.
        rules: How it counts.
    """
    return Bound("choices", NOTHING, Amounts(0, extra * rules.model_len))


def _certain(tally: Tally, rules: CounterRules) -> tuple[Amounts, list[Bound]]:
    """What is billed of a tally, and its causes if all was counted that was done."""
    match tally.outcome:
        case "answered":
            return tally.amounts, [_known_retries(tally, rules)]
        case "cut_off":
            return tally.amounts, [_cut_off(tally, rules), _known_retries(tally, rules)]
        case "failed" | "unmeasured":
            retries = Bound("retry", NOTHING, rules.work(tally.retries))
            return Amounts(tally.requests), [_lost(tally, tally.outcome, rules), retries]
        case "refused":
            missed = Bound("refused", Amounts(-tally.requests), NOTHING)
            retries = Bound("retry", NOTHING, Amounts(tally.retries))
            return Amounts(tally.requests), [missed, retries]
        case "wasted":
            return NOTHING, [Bound("wasted_cascade", tally.amounts, tally.amounts)]
        case "wasted_unmeasured":
            return NOTHING, [Bound("wasted_cascade", NOTHING, rules.work(tally.requests))]


def _known_retries(tally: Tally, rules: CounterRules) -> Bound:
    prompts = tally.retried_prompt_tokens * rules.known_choices
    answers = tally.retries * rules.known_choices * rules.model_len
    return Bound("retry", NOTHING, Amounts(tally.retries, prompts, answers))


def _cut_off(tally: Tally, rules: CounterRules) -> Bound:
    """Only streams break off with their tokens known, and a stream has one answer."""
    done = tally.prompt_tokens + tally.generation_tokens
    room = max(0, tally.requests * rules.model_len - done)
    missed = NOTHING if rules.counts_partial else tally.amounts
    least = Amounts(0, -missed.prompt_tokens, -missed.generation_tokens)
    return Bound("cut_off", least, Amounts(0, 0, room))


def _lost(tally: Tally, cause: Literal["failed", "unmeasured"], rules: CounterRules) -> Bound:
    """Tokens that were seen before the failure were counted; others may have been."""
    seen = tally.amounts if rules.counts_partial else NOTHING
    whole = rules.work(tally.requests)
    return Bound(
        cause,
        Amounts(-tally.requests, seen.prompt_tokens, seen.generation_tokens),
        Amounts(
            0,
            max(whole.prompt_tokens, seen.prompt_tokens),
            max(whole.generation_tokens, seen.generation_tokens),
        ),
    )
