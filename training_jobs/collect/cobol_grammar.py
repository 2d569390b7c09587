"""A small grammar of COBOL ledger statements with their Java translations.

Every numeric item is `PIC S9(9)V99`: a BigDecimal of scale 2. COBOL truncates a result to the
picture of its target (`RoundingMode.DOWN`) unless ROUNDED is written (`RoundingMode.HALF_UP`).
The scale is set once, on the final result: intermediate results stay exact, and a division comes
last, because a quotient is cut at the scale of its target. Overflow (ON SIZE ERROR) is left out.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["arithmetic", "move", "perform", "condition"]

DOWN, HALF_UP = "RoundingMode.DOWN", "RoundingMode.HALF_UP"


@dataclass(frozen=True)
class Core:
    """One statement form without names: its COBOL and Java templates.

    `{a} {b} {c}` are data names (or a literal in `{a}`), `{p}` a paragraph, `{k}` a condition name.
    """

    shape: str
    kind: Kind
    cobol: str
    java: str


@dataclass(frozen=True)
class Names:
    """The identifiers that a row may use, in COBOL spelling, without the `WS-` prefix of data."""

    data: tuple[str, ...]
    conditions: tuple[str, ...]
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Translation:
    """One training pair before formatting, with the shape of the statement in it."""

    cobol: str
    java: str
    shape: str
    identifiers: frozenset[str]


def java_name(cobol: str) -> str:
    """`NET-FEE` -> `netFee`."""
    first, *rest = cobol.lower().split("-")
    return first + "".join(word.capitalize() for word in rest)


def _arithmetic(shape: str, cobol: str, java: str) -> list[Core]:
    """The plain and the ROUNDED form of one template; `{R}`, `{S}` and `{D}` depend on which."""
    cores = []
    for rounded in (False, True):
        mode = HALF_UP if rounded else DOWN
        parts = {
            "{R}": " ROUNDED" if rounded else "",
            "{S}": f".setScale(2, {mode})",
            "{D}": f"2, {mode}",
        }
        cores.append(
            Core(
                shape + (" rounded" if rounded else ""),
                "arithmetic",
                _replace(cobol, parts),
                _replace(java, parts),
            )
        )
    return cores


def _replace(template: str, parts: dict[str, str]) -> str:
    for key, value in parts.items():
        template = template.replace(key, value)
    return template


# Shape, COBOL, Java. A literal operand is a shape of its own.
_TEMPLATES = (
    ("add", "ADD {a} TO {b}{R}", "{b} = {b}.add({a}){S};"),
    ("add giving", "ADD {a} TO {b} GIVING {c}{R}", "{c} = {b}.add({a}){S};"),
    ("add two", "ADD {a} {b} TO {c}{R}", "{c} = {c}.add({a}).add({b}){S};"),
    ("subtract", "SUBTRACT {a} FROM {b}{R}", "{b} = {b}.subtract({a}){S};"),
    ("subtract giving", "SUBTRACT {a} FROM {b} GIVING {c}{R}", "{c} = {b}.subtract({a}){S};"),
    ("subtract two", "SUBTRACT {a} {b} FROM {c}{R}", "{c} = {c}.subtract({a}).subtract({b}){S};"),
    ("multiply", "MULTIPLY {a} BY {b}{R}", "{b} = {b}.multiply({a}){S};"),
    ("multiply giving", "MULTIPLY {a} BY {b} GIVING {c}{R}", "{c} = {b}.multiply({a}){S};"),
    ("divide into", "DIVIDE {a} INTO {b}{R}", "{b} = {b}.divide({a}, {D});"),
    ("divide into giving", "DIVIDE {a} INTO {b} GIVING {c}{R}", "{c} = {b}.divide({a}, {D});"),
    ("divide by giving", "DIVIDE {a} BY {b} GIVING {c}{R}", "{c} = {a}.divide({b}, {D});"),
    ("compute add", "COMPUTE {c}{R} = {a} + {b}", "{c} = {a}.add({b}){S};"),
    ("compute subtract", "COMPUTE {c}{R} = {a} - {b}", "{c} = {a}.subtract({b}){S};"),
    ("compute multiply", "COMPUTE {c}{R} = {a} * {b}", "{c} = {a}.multiply({b}){S};"),
    ("compute divide", "COMPUTE {c}{R} = {a} / {b}", "{c} = {a}.divide({b}, {D});"),
    ("compute mul add", "COMPUTE {c}{R} = {a} * {b} + {d}", "{c} = {a}.multiply({b}).add({d}){S};"),
    (
        "compute mul subtract",
        "COMPUTE {c}{R} = {a} * {b} - {d}",
        "{c} = {a}.multiply({b}).subtract({d}){S};",
    ),
    (
        "compute mul divide",
        "COMPUTE {c}{R} = {a} * {b} / {d}",
        "{c} = {a}.multiply({b}).divide({d}, {D});",
    ),
    ("add literal", "ADD {n} TO {b}{R}", '{b} = {b}.add(new BigDecimal("{n}")){S};'),
    (
        "subtract literal",
        "SUBTRACT {n} FROM {b}{R}",
        '{b} = {b}.subtract(new BigDecimal("{n}")){S};',
    ),
    ("multiply literal", "MULTIPLY {n} BY {b}{R}", '{b} = {b}.multiply(new BigDecimal("{n}")){S};'),
    ("divide literal", "DIVIDE {n} INTO {b}{R}", '{b} = {b}.divide(new BigDecimal("{n}"), {D});'),
)
_OTHER = (
    Core("move", "move", "MOVE {a} TO {b}", "{b} = {a};"),
    Core("move literal", "move", "MOVE {n} TO {b}", '{b} = new BigDecimal("{n}");'),
    Core("move zero", "move", "MOVE ZERO TO {b}", '{b} = new BigDecimal("0.00");'),
    Core("perform", "perform", "PERFORM {p}", "{p}();"),
    Core(
        "perform times",
        "perform",
        "PERFORM {p} {t} TIMES",
        "for (int i = 0; i < {t}; i++) {{ {p}(); }}",
    ),
    Core(
        "perform until condition", "perform", "PERFORM {p} UNTIL {k}", "while (!{k}()) {{ {p}(); }}"
    ),
    Core(
        "perform until greater",
        "perform",
        "PERFORM {p} UNTIL {a} > {b}",
        "while (!({a}.compareTo({b}) > 0)) {{ {p}(); }}",
    ),
    Core(
        "perform until less",
        "perform",
        "PERFORM {p} UNTIL {a} < {b}",
        "while (!({a}.compareTo({b}) < 0)) {{ {p}(); }}",
    ),
    Core("set condition", "condition", "SET {k} TO TRUE", "{set}(true);"),
)

CORES: tuple[Core, ...] = (
    *(core for template in _TEMPLATES for core in _arithmetic(*template)),
    *_OTHER,
)

# Statement shapes kept for the held-out rows: each is a new combination of clauses (verb, GIVING,
# ROUNDED, a literal, a loop condition) that training shows one by one.
HELD_OUT_SHAPES = frozenset(
    {
        "add giving rounded",
        "subtract two",
        "subtract giving",
        "multiply rounded",
        "divide into giving rounded",
        "divide by giving",
        "compute subtract rounded",
        "compute divide",
        "compute mul add rounded",
        "add literal rounded",
        "subtract literal",
        "perform until less",
    }
)


class _Filler:
    """Draws names without repeating one inside a row, so that no statement is degenerate."""

    def __init__(self, names: Names, rng: random.Random) -> None:
        self._rng = rng
        self._data = rng.sample(names.data, 8)
        self._conditions = rng.sample(names.conditions, 2)
        self._paragraphs = rng.sample(names.paragraphs, 2)
        self.used: set[str] = set()

    def data(self) -> str:
        return self._take(self._data)

    def condition(self) -> str:
        return self._take(self._conditions)

    def paragraph(self) -> str:
        return self._take(self._paragraphs)

    def pick(self, *choices: str) -> str:
        return self._rng.choice(choices)

    def _take(self, pool: list[str]) -> str:
        name = pool.pop()
        self.used.add(name)
        return name

    def statement(self, core: Core) -> tuple[str, str]:
        """COBOL (no full stop) and Java of one core with fresh names."""
        cobol: dict[str, str] = {}
        java: dict[str, str] = {}
        for letter in "abcd":
            if f"{{{letter}}}" in core.cobol:
                name = self.data()
                cobol[letter], java[letter] = f"WS-{name}", java_name(name)
        if "{k}" in core.cobol:
            name = self.condition()
            cobol["k"], java["k"] = name, java_name(f"IS-{name}")
            java["set"] = java_name(f"SET-{name}")
        if "{p}" in core.cobol:
            name = self.paragraph()
            cobol["p"], java["p"] = name, java_name(name)
        cobol["n"] = java["n"] = (
            f"{self._rng.randint(1, 99)}.{self._rng.choice(('00', '25', '50'))}"
        )
        cobol["t"] = java["t"] = str(self._rng.randint(2, 9))
        return core.cobol.format(**cobol), core.java.format(**java)


# Paragraph and condition names occur in few forms, so those forms come more often.
_WEIGHT_OF_KIND: dict[Kind, int] = {"arithmetic": 2, "move": 1, "perform": 4, "condition": 2}

Wrapper = Callable[[_Filler, Core], tuple[str, str]]


def _plain(filler: _Filler, core: Core) -> tuple[str, str]:
    return filler.statement(core)


def _if_condition(filler: _Filler, core: Core) -> tuple[str, str]:
    name = filler.condition()
    cobol, java = filler.statement(core)
    return f"IF {name} {cobol} END-IF", f"if ({java_name('IS-' + name)}()) {{ {java} }}"


def _if_compare(filler: _Filler, core: Core) -> tuple[str, str]:
    left, right = filler.data(), filler.data()
    operator = filler.pick("<", ">")
    cobol, java = filler.statement(core)
    test = f"{java_name(left)}.compareTo({java_name(right)}) {operator} 0"
    return (
        f"IF WS-{left} {operator} WS-{right} {cobol} END-IF",
        f"if ({test}) {{ {java} }}",
    )


def _evaluate(filler: _Filler, core: Core) -> tuple[str, str]:
    name = filler.condition()
    cobol, java = filler.statement(core)
    other = filler.paragraph()
    return (
        f"EVALUATE TRUE WHEN {name} {cobol} WHEN OTHER PERFORM {other} END-EVALUATE",
        f"if ({java_name('IS-' + name)}()) {{ {java} }} else {{ {java_name(other)}(); }}",
    )


# Weights. Plain statements dominate: they are short, and what they teach holds inside the wrappers.
_WRAPPERS: tuple[tuple[Wrapper, int], ...] = (
    (_plain, 14),
    (_if_condition, 3),
    (_if_compare, 2),
    (_evaluate, 2),
)


def translate(cores: Sequence[Core], names: Names, rng: random.Random) -> Translation:
    """Draw one row around one statement of `cores`."""
    wrapper = rng.choices([w for w, _ in _WRAPPERS], weights=[weight for _, weight in _WRAPPERS])[0]
    core = rng.choices(cores, weights=[_WEIGHT_OF_KIND[core.kind] for core in cores])[0]
    filler = _Filler(names, rng)
    cobol, java = wrapper(filler, core)
    return Translation(f"{cobol}.", java, core.shape, frozenset(filler.used))
