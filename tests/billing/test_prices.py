"""The price table: the committed one, and what is refused."""

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path

import pytest

from serving.billing.errors import BillingError
from serving.billing.prices import read_prices

ROOT = Path(__file__).resolve().parents[2]


def _table(pools: str = '{slm: {input: "1", cached_input: "0.5", output: "2"}}') -> str:
    return f"currency: USD\nprices:\n  - from: 2026-01-01\n    pools: {pools}\n"


def _later(day: str) -> str:
    return _table().replace("2026-01-01", day).partition("prices:\n")[2]


def test_the_committed_table_prices_both_pools() -> None:
    table = read_prices(ROOT / "stacks" / "prices.yaml")
    period = table.at(dt.date(2026, 11, 24))
    assert set(period.pools) == {"slm", "llm"}
    for price in period.pools.values():
        assert Decimal(0) < price.cached_input < price.input < price.output


def test_a_day_has_the_newest_period_that_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(_table() + _later("2026-03-01"))
    table = read_prices(path)
    found = [table.at(dt.date(2026, *day)).from_day for day in ((2, 28), (3, 1), (12, 31))]
    assert [day.month for day in found] == [1, 3, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("currency: [", "not YAML"),
        ("", "the file: "),
        (_table().replace("USD", "dollars"), "currency"),
        (_table('{slm: {input: 0.1, cached_input: "0", output: "2"}}'), 'in quotes: "0.1"'),
        (_table('{slm: {input: "-1", cached_input: "0", output: "2"}}'), "pools.slm.input"),
        (_table('{slm: {input: "NaN", cached_input: "0", output: "2"}}'), "pools.slm.input"),
        (_table('{slm: {input: "0.0000001", cached_input: "0", output: "2"}}'), "at most 6"),
        (_table('{slm: {input: "1", output: "2"}}'), "pools.slm.cached_input: Field required"),
        (_table('{slm: {input: "1", cached_input: "0", output: "2", x: "1"}}'), "pools.slm.x"),
        (_table("{}"), "pools"),
        (_table() + _later("2026-01-01"), "two periods begin on 2026-01-01"),
        (_table() + _later("2025-12-31"), "put the oldest day first"),
        (
            _table('{slm: {input: "1", cached_input: "0", output: "2", gpu_hour: 50.0}}'),
            "in quotes",
        ),
        (_table('{slm: {input: true, cached_input: "0", output: "2"}}'), "pools.slm.input"),
        (_table('{slm: {input: "1", input: "2", output: "2"}}'), "'input' is there twice"),
        (_table() + '    runs: {H100: {spot: "1"}}\n', "runs.H100.on-demand: Field required"),
        (_table() + "    customers: {a: {monthly_fee: 1.5}}\n", "customers.a.monthly_fee"),
        (_table() + '    customers: {a: {minimum: "-1"}}\n', "customers.a.minimum"),
        (_table() + "    customers: {a: {free_tokens: {slm: {input: 1.5}}}}\n", "slm.input"),
        (
            _table() + "    customers: {a: {free_tokens: {llm: {input: 1}}}}\n",
            "customers.a.free_tokens.llm: there is no such pool; there are slm",
        ),
        (_table() + "    customer: {}\n", "customer: Extra inputs"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(BillingError) as caught:
        read_prices(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match=r"none\.yaml: cannot be read"):
        read_prices(tmp_path / "none.yaml")


def test_what_the_committed_table_explains_can_be_switched_on(tmp_path: Path) -> None:
    text = (ROOT / "stacks" / "prices.yaml").read_text()
    examples = [line for line in text.splitlines() if re.match(r"    #( {3,}\S| [a-z]+:$)", line)]
    path = tmp_path / "prices.yaml"
    path.write_text(
        _table() + "\n".join(line.replace("# ", "", 1) for line in examples if "llm:" not in line)
    )
    (period,) = read_prices(path).prices
    gpu = "NVIDIA-H100-80GB-HBM3"
    assert period.run(gpu).of("on-demand") > period.run(gpu).of("spot")
    terms = period.terms("customer-bank-A")
    assert terms is not None
    assert terms.minimum > terms.monthly_fee > 0
    assert period.terms("anybody") is not None


def test_terms_are_by_name_then_by_star_then_unknown(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(_table() + '    customers: {a: {minimum: "1"}, "*": {minimum: "2"}}\n')
    period = read_prices(path).at(dt.date(2026, 1, 1))
    assert [terms.minimum for name in "ab" if (terms := period.terms(name))] == [1, 2]
    path.write_text(_table() + "    customers: {a: {}}\n")
    assert read_prices(path).at(dt.date(2026, 1, 1)).terms("b") is None
    path.write_text(_table())
    assert read_prices(path).at(dt.date(2026, 1, 1)).terms("b") is not None


def test_the_digest_follows_the_prices_and_not_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    digests = []
    for text in (_table(), f"# a comment\n{_table()}", _table().replace('"2"', '"3"')):
        path.write_text(text)
        digests.append(read_prices(path).digest)
    assert digests[0] == digests[1] != digests[2]
