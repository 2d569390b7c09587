"""The price table: the committed one, and what is refused."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from serving.billing import BillingError, read_prices

ROOT = Path(__file__).resolve().parents[2]


def _table(pools: str = '{slm: {input: "1", cached_input: "0.5", output: "2"}}') -> str:
    return f"currency: USD\nprices:\n  - from: 2026-01-01\n    pools: {pools}\n"


def test_the_committed_table_prices_both_pools() -> None:
    table = read_prices(ROOT / "stacks" / "prices.yaml")
    period = table.at(dt.date(2026, 11, 24))
    assert set(period.pools) == {"slm", "llm"}
    for price in period.pools.values():
        assert Decimal(0) < price.cached_input < price.input < price.output


def test_a_day_has_the_newest_period_that_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    later = _table().replace("2026-01-01", "2026-03-01").partition("prices:\n")[2]
    path.write_text(_table() + later)
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
        (_table() + _table().partition("prices:\n")[2], "put the oldest day first"),
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
