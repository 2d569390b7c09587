"""Reads PromQL far enough to say which metrics and labels an expression names.

Not a parser: it knows tokens, calls, selectors and groupings, and refuses a word that it does not
know. Grafana's variables count as the values that Grafana puts there.
"""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"[^"]*")
    |(?P<range>\[[^\]]+\])
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%(){},=<>])""",
    re.VERBOSE,
)
_RANGE = re.compile(r"\[(\d+[smhd]|\$__rate_interval|\$__range)\]")
_OPERATORS = {"and", "or", "unless"}
_AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk"}
_GROUPINGS = {"by", "on", "group_left"}
_FUNCTIONS = {
    "absent",
    "avg_over_time",
    "day_of_month",
    "histogram_quantile",
    "increase",
    "rate",
    "scalar",
    "time",
    "vector",
}


@dataclass(frozen=True)
class Selector:
    """One use of a metric."""

    metric: str
    labels: frozenset[str]
    """Labels that it is matched by."""
    ranged: bool
    """Whether a time range follows."""


@dataclass
class Expression:
    """What one expression names."""

    selectors: list[Selector] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)
    """Labels of by, on and group_left."""
    by: list[frozenset[str]] = field(default_factory=list)
    """Labels of each `by`, in order."""


class PromqlError(AssertionError):
    """Text that is not the PromQL known here."""


def read(expr: str) -> Expression:
    """Read an expression.

    Raises:
        PromqlError: A token or word is not known, or brackets do not match.
    """
    tokens = _tokens(expr)
    found = Expression()
    _check_brackets(tokens, expr)
    index = 0
    while index < len(tokens):
        kind, text = tokens[index]
        following = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        index += 1
        if kind == "range" and not _RANGE.fullmatch(text):
            raise PromqlError(f"range {text} in {expr}")
        if kind != "word" or text in _OPERATORS:
            continue
        if text in _GROUPINGS:
            labels, index = _grouping(tokens, index, expr)
            found.grouped |= labels
            if text == "by":
                found.by.append(labels)
        elif following == "(" or text in _AGGREGATIONS:
            if text not in _FUNCTIONS | _AGGREGATIONS:
                raise PromqlError(f"function {text} in {expr}")
        else:
            selector, index = _selector(text, tokens, index)
            found.selectors.append(selector)
    return found


def _tokens(expr: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    while position < len(expr):
        match = _TOKEN.match(expr, position)
        if match is None:
            raise PromqlError(f"{expr[position:]!r} in {expr}")
        position = match.end()
        if match.lastgroup != "space":
            tokens.append((str(match.lastgroup), match[0]))
    return tokens


def _check_brackets(tokens: list[tuple[str, str]], expr: str) -> None:
    closes, open_brackets = {")": "(", "}": "{"}, []
    for _, text in tokens:
        if text in closes.values():
            open_brackets.append(text)
        elif text in closes and (not open_brackets or open_brackets.pop() != closes[text]):
            raise PromqlError(f"{text} without its partner in {expr}")
    if open_brackets:
        raise PromqlError(f"{open_brackets[-1]} is not closed in {expr}")


def _grouping(tokens: list[tuple[str, str]], index: int, expr: str) -> tuple[frozenset[str], int]:
    if tokens[index][1] != "(":
        raise PromqlError(f"a grouping without labels in {expr}")
    end = next(i for i in range(index, len(tokens)) if tokens[i][1] == ")")
    return frozenset(text for kind, text in tokens[index:end] if kind == "word"), end + 1


def _selector(metric: str, tokens: list[tuple[str, str]], index: int) -> tuple[Selector, int]:
    labels: frozenset[str] = frozenset()
    if index < len(tokens) and tokens[index][1] == "{":
        end = next(i for i in range(index, len(tokens)) if tokens[i][1] == "}")
        labels = frozenset(text for kind, text in tokens[index:end] if kind == "word")
        index = end + 1
    ranged = index < len(tokens) and tokens[index][0] == "range"
    return Selector(metric, labels, ranged), index
