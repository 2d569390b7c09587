"""Collect `bank-ledger`: synthetic COBOL -> Java pairs from the ledger grammar.

The rows are generated, not taken from a bank's programs; the report says so. Held-out rows use
statement shapes and full identifiers that no training row uses.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from training_jobs.collect.cobol_grammar import (
    CORES,
    HELD_OUT_SHAPES,
    Core,
    Names,
    Translation,
    translate,
)
from training_jobs.collect.output import write_dataset
from training_jobs.errors import JobInputError
from training_jobs.java_compile import failures, java_compiler
from training_jobs.pairs import Pair

SEED = 20
HELD_OUT_ROWS = 100

# Identifiers are compounds of everyday ledger words. Training and held-out rows share the words,
# never a whole identifier.
_QUALIFIERS = ["NET", "OLD", "NEW", "BASE", "TAX", "LOAN", "CARD", "CASH", "BANK"]
_NOUNS = ["RATE", "COST", "BALANCE", "TOTAL", "LIMIT", "PRICE", "CREDIT", "FEE", "SUM"]
_ACCOUNTS = ["LOAN", "CARD", "BANK", "CASH"]
_STATES = ["OPEN", "CLOSED", "ACTIVE", "PAID"]
_ACTIONS = ["CALC", "POST", "CHECK", "PRINT"]


def _compounds(first: Sequence[str], second: Sequence[str], rng: random.Random) -> list[str]:
    names = [f"{a}-{b}" for a in first for b in second if a != b]
    rng.shuffle(names)
    return names


def split_names(rng: random.Random) -> tuple[Names, Names]:
    """Identifiers for training (70 %) and for the held-out rows (30 %), without overlap."""
    pools = (
        _compounds(_QUALIFIERS, _NOUNS, rng),
        _compounds(_ACCOUNTS, _STATES, rng),
        _compounds(_ACTIONS, _NOUNS, rng),
    )
    cuts = [len(pool) * 7 // 10 for pool in pools]
    train = Names(*(tuple(pool[:cut]) for pool, cut in zip(pools, cuts, strict=True)))
    held_out = Names(*(tuple(pool[cut:]) for pool, cut in zip(pools, cuts, strict=True)))
    return train, held_out


def generate(
    cores: Sequence[Core], names: Names, count: int, rng: random.Random
) -> list[Translation]:
    """`count` rows with distinct inputs."""
    rows: dict[str, Translation] = {}
    while len(rows) < count:
        row = translate(cores, names, rng)
        rows.setdefault(row.cobol, row)
    return list(rows.values())


def to_pair(row: Translation) -> Pair:
    """The guide's spelling of one row."""
    return Pair(f"COBOL: {row.cobol}", f"Java: {row.java}")


def collect(out: Path, rows: int) -> dict[str, object]:
    """Generate, compile where a JDK is present, and write the dataset. Returns its report.

    Raises:
        JobInputError: a generated Java snippet does not compile (a fault of the grammar).
    """
    rng = random.Random(SEED)  # noqa: S311 - reproducible data, no secret
    train_names, held_names = split_names(rng)
    train = generate([c for c in CORES if c.shape not in HELD_OUT_SHAPES], train_names, rows, rng)
    held = generate(
        [c for c in CORES if c.shape in HELD_OUT_SHAPES], held_names, HELD_OUT_ROWS, rng
    )
    _say(f"{len(train)} training rows, {len(held)} held-out rows")
    _compile_all([row.java for row in (*train, *held)])
    report = {
        "domain": "bank-ledger",
        "source": "synthetic: generated from training_jobs/collect/cobol_grammar.py",
        "synthetic": True,
        "seed": SEED,
        "rejected": {},
        "split_rule": (
            "held-out rows are made of the statement shapes of HELD_OUT_SHAPES and of identifiers "
            "that occur in no training row; words inside identifiers are shared"
        ),
        "held_out_shapes": sorted(HELD_OUT_SHAPES),
        "assumption": "every numeric item is PIC S9(9)V99; ON SIZE ERROR is not modelled",
    }
    return write_dataset(out, [to_pair(r) for r in train], [to_pair(r) for r in held], report)


def _compile_all(snippets: Sequence[str]) -> None:
    compiler = java_compiler()
    if compiler is None:
        _say("no javac on PATH: the Java of this deterministic dataset is not compiled here")
        return
    _say(f"compiling {len(snippets)} Java snippets with {compiler}")
    failed = failures(snippets, compiler)
    if failed:
        index, error = next(iter(failed.items()))
        raise JobInputError(
            f"{len(failed)} generated snippets do not compile, the first: {error}: "
            f"{snippets[index]!r}: correct the grammar"
        )


def _say(message: str) -> None:
    sys.stderr.write(f"collect bank-ledger: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """Write the dataset; exit 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="training_jobs.collect.bank_ledger", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the dataset")
    parser.add_argument("--rows", type=int, default=1200, help="training rows (default 1200)")
    options = parser.parse_args(argv)
    try:
        report = collect(options.out, options.rows)
    except JobInputError as error:
        _say(f"error: {error}")
        return 2
    _say(f"{options.out}: {report['digests']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
