"""The synthetic COBOL -> Java dataset: its semantics, and what the held-out rows may share."""

import json
import random
import re

import pytest

from training_jobs.collect import bank_ledger
from training_jobs.collect.cobol_grammar import CORES, HELD_OUT_SHAPES, Names, translate
from training_jobs.java_compile import failures, java_compiler

NAMES = Names(
    data=tuple(f"{a}-{b}" for a in ("NET", "OLD", "NEW") for b in ("FEE", "RATE", "SUM")),
    conditions=("LOAN-OPEN", "CARD-PAID"),
    paragraphs=("CALC-FEE", "POST-SUM"),
)
_IDENTIFIER = re.compile(r"\b[A-Z]+-[A-Z]+\b")


def _plain(shape, seed=0):
    """A row of this shape without IF or EVALUATE around it."""
    (core,) = [core for core in CORES if core.shape == shape]
    rng = random.Random(seed)
    while True:
        row = translate([core], NAMES, rng)
        if not row.cobol.startswith(("IF", "EVALUATE")):
            return row


def _with(template, cobol):
    """The template with the identifiers of the COBOL text, in their order, as Java names."""
    names = [n.lower().split("-") for n in re.findall(r"WS-([A-Z]+-[A-Z]+)", cobol)]
    return template.format(*(first + second.capitalize() for first, second in names))


@pytest.mark.parametrize(
    ("shape", "java"),
    [
        ("add", "{1} = {1}.add({0}).setScale(2, RoundingMode.DOWN);"),
        ("add rounded", "{1} = {1}.add({0}).setScale(2, RoundingMode.HALF_UP);"),
        ("subtract giving", "{2} = {1}.subtract({0}).setScale(2, RoundingMode.DOWN);"),
        ("divide into", "{1} = {1}.divide({0}, 2, RoundingMode.DOWN);"),
        ("divide by giving", "{2} = {0}.divide({1}, 2, RoundingMode.DOWN);"),
        ("divide into giving rounded", "{2} = {1}.divide({0}, 2, RoundingMode.HALF_UP);"),
        ("compute mul divide", "{0} = {1}.multiply({2}).divide({3}, 2, RoundingMode.DOWN);"),
        ("move", "{1} = {0};"),
    ],
)
def test_each_verb_has_the_operand_order_and_rounding_of_cobol(shape, java):
    row = _plain(shape)
    assert row.java == _with(java, row.cobol)


def test_a_condition_name_becomes_a_test_and_a_loop_runs_until_it_holds():
    row = _plain("perform until condition")
    paragraph, condition = re.fullmatch(r"PERFORM (\S+) UNTIL (\S+)\.", row.cobol).groups()
    first, second = condition.title().split("-")
    call = paragraph.title().replace("-", "")
    assert row.java == f"while (!is{first}{second}()) {{ {call[0].lower()}{call[1:]}(); }}"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("bank") / "dataset"
    assert bank_ledger.main(["--out", str(out), "--rows", "600"]) == 0

    def read(name):
        return [json.loads(line) for line in (out / name).read_text().splitlines()]

    return out, read("train.jsonl"), read("heldout.jsonl")


def test_the_rows_have_the_formats_of_the_guide_and_say_that_they_are_synthetic(dataset):
    out, train, heldout = dataset
    assert (len(train), len(heldout)) == (600, 100)
    for row in train + heldout:
        assert row["input"].startswith("COBOL: ")
        assert row["output"].startswith("Java: ")
    assert json.loads((out / "report.json").read_text())["synthetic"] is True
    assert "Synthetic data" in (out / "README.md").read_text()


def test_no_held_out_identifier_occurs_in_training(dataset):
    _, train, heldout = dataset

    def used(rows):
        return {n for row in rows for n in _IDENTIFIER.findall(row["input"])}

    keywords = {"END-IF", "END-EVALUATE"}

    def strip(names):
        return {n for n in names if n not in keywords}

    # `WS-NET-FEE` matches as WS-NET; the full data name is what counts.
    def full(rows):
        return {n for row in rows for n in re.findall(r"WS-[A-Z]+-[A-Z]+", row["input"])}

    assert full(heldout)
    assert not full(heldout) & full(train)

    def others(rows):
        return {n for n in strip(used(rows)) if not n.startswith("WS-")}

    conditions = {n for n in others(heldout) if n.split("-")[1] in {"OPEN", "CLOSED", "PAID"}}
    assert conditions
    assert not conditions & others(train)


def test_no_held_out_statement_shape_occurs_in_training(dataset):
    _, train, heldout = dataset
    # An `ADD … GIVING … ROUNDED` is a held-out shape, wherever it stands in the row.
    shape = re.compile(r"ADD WS-\S+ TO WS-\S+ GIVING WS-\S+ ROUNDED")
    assert "add giving rounded" in HELD_OUT_SHAPES
    assert any(shape.search(row["input"]) for row in heldout)
    assert not any(shape.search(row["input"]) for row in train)


def test_the_same_seed_gives_the_same_bytes(dataset, tmp_path):
    out, _, _ = dataset
    again = tmp_path / "again"
    bank_ledger.main(["--out", str(again), "--rows", "600"])
    for name in ("train.jsonl", "heldout.jsonl", "report.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


@pytest.mark.skipif(java_compiler() is None, reason="no JDK on this machine")
def test_javac_names_the_snippets_that_do_not_compile():
    snippets = ["a = a.add(b);", "a = a.add(b", "a = c.nonsense(b);", "while (!isX()) { run(); }"]
    failed = failures(snippets, java_compiler())
    assert sorted(failed) == [1, 2]
