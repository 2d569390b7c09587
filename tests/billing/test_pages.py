"""The pages of a statement: what they say, and that they say nothing else."""

import datetime as dt
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.billing.errors import BillingError
from serving.billing.money import of_tokens
from serving.billing.pages import formats, render_html
from serving.billing.pages.names import invoice_names
from serving.billing.pages.report import MOST_ORPHANS
from serving.billing.statement import Invoice, Line, PlatformLine
from serving.billing.usage import Attention, Counts, Orphan
from tests.billing.page_reader import Element, cells, read, words
from tests.billing.statements import MONTH, invoice, realistic, statement, token_line

BANK = "invoice-customer-bank-A.html"
REPORT = f"report-{MONTH}.html"
HOSTILE = (
    "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)> $x^2$ {{ 7*7 }}\u202e\x00"
)


@pytest.fixture(scope="module")
def pages() -> dict[str, bytes]:
    return render_html(realistic())


def number(value: int | Decimal) -> str:
    """Write a number as the pages do, by other means than they."""
    text = format(value, ",f") if isinstance(value, Decimal) else format(value, ",d")
    if isinstance(value, Decimal):
        whole, _, fraction = text.partition(".")
        text = f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"
    return text.replace("-", "\u2212")


def table(page: bytes, caption: str) -> Element:
    (found,) = [
        each
        for each in read(page).all("table")
        if each.all("caption")[0].text().strip().startswith(caption)
    ]
    return found


def money(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("\u2212", "-"))


def test_one_page_for_each_customer_and_one_report(pages: dict[str, bytes]) -> None:
    assert set(pages) == {
        BANK,
        "invoice-customer-securities-B.html",
        "invoice-customer-insurance-C.html",
        REPORT,
    }


def test_an_invoice_shows_each_amount_and_count_of_its_lines(pages: dict[str, bytes]) -> None:
    for made in realistic().invoices:
        said = words(pages[f"invoice-{made.customer}.html"])
        for line in made.lines:
            counts = line.counts
            assert number(line.amount) in said, line
            for tokens in (
                counts.requests,
                counts.input_tokens - counts.cached_tokens,
                counts.cached_tokens,
                counts.output_tokens,
                counts.wasted_input_tokens,
            ):
                assert f" {number(tokens)} " in said or tokens == 0, (line, tokens)
            for text in (line.served_model, line.version, line.reference, line.note):
                assert text is None or text in said, line
        for whole in (made.cost, made.due, made.counts.input_tokens, made.counts.output_tokens):
            assert number(whole) in said


def test_an_invoice_says_what_it_is_about(pages: dict[str, bytes]) -> None:
    said = words(pages[BANK])
    for text in ("Invoice", "customer-bank-A", "November 2026", "production", "USD", "closed"):
        assert text in said
    assert "preliminary" not in said.lower()


def test_each_part_of_the_summary_is_the_sum_of_its_lines(pages: dict[str, bytes]) -> None:
    (made,) = [each for each in realistic().invoices if each.customer == "customer-bank-A"]
    rows = {row[0]: money(row[-1]) for row in cells(table(pages[BANK], "Amounts are exact"))[1:]}
    tokens = sum(
        line.amount for line in made.lines if line.kind == "tokens" and line.month == MONTH
    )
    late = sum(line.amount for line in made.lines if line.note == "shipped after the close")
    assert rows["Tokens"] == tokens
    assert rows["Late use of earlier months"] == late
    assert rows["Amount due"] == made.due
    parts = [
        value for name, value in rows.items() if name not in ("Sum of the lines", "Amount due")
    ]
    assert sum(parts) == rows["Amount due"]


def test_a_token_line_shows_the_prices_that_it_was_made_with(pages: dict[str, bytes]) -> None:
    said = words(pages[BANK])
    for price in ("3.00", "0.75", "12.00", "0.10", "0.025", "0.40"):
        assert f"\N{MULTIPLICATION SIGN} {price} / M" in said


def test_late_lines_show_the_month_of_their_use(pages: dict[str, bytes]) -> None:
    row = cells(table(pages[BANK], "Records that arrived"))[1]
    assert row[1] == "October 2026"


def test_savings_are_the_difference_of_the_two_amounts_beside_them(
    pages: dict[str, bytes],
) -> None:
    _, everything, paid, saved = (
        row[-1] for row in cells(table(pages[BANK], "The tokens in the pools"))
    )
    assert money(everything) - money(paid) == money(saved) > 0


def test_without_prices_of_the_large_pool_nothing_is_compared(pages: dict[str, bytes]) -> None:
    said = words(pages["invoice-customer-insurance-C.html"])
    assert "Pool llm has no prices" in said
    assert "Saved" not in said


def test_a_cascade_that_cost_more_has_a_negative_saving() -> None:
    line = token_line("a", "bank-ledger", "v1.0", "llm", Counts(requests=1, input_tokens=10))
    made = replace(invoice("a", [line]), saved=Decimal("-0.5"), all_llm_amount=Decimal(1))
    assert "Saved \u22120.50 \u221250.0 %" in words(render_html(statement(made))["invoice-a.html"])


def test_no_page_of_a_customer_names_another(pages: dict[str, bytes]) -> None:
    names = [made.customer for made in realistic().invoices]
    for mine in names:
        page = pages[f"invoice-{mine}.html"].decode()
        assert not [name for name in names if name != mine and name in page]
        assert "router-0" not in page


def test_the_report_adds_up(pages: dict[str, bytes]) -> None:
    _, *rows, total = cells(table(pages[REPORT], "One line for each invoice"))
    for column in (1, 2, 3, 5, 6):
        assert sum(money(row[column]) for row in rows) == money(total[column])
    assert money(total[-1]) == realistic().total_due


def test_the_shares_of_gpu_time_add_up_to_all_of_it(pages: dict[str, bytes]) -> None:
    made = realistic()
    _, *rows, total = cells(table(pages[REPORT], "GPU time of the serving pods"))
    shares = [Decimal(row[-1].removesuffix(" %")) for row in rows]
    assert sum(shares) == 100
    assert total[-1] == "100.0 %"
    milliseconds = sum(line.gpu_ms for line in made.platform) + sum(
        each.gpu_ms for each in made.invoices
    )
    assert _milliseconds(total[1]) == milliseconds
    assert sum(_milliseconds(row[1]) for row in rows) == milliseconds


def _milliseconds(text: str) -> int:
    hours, minutes, seconds = text.replace(",", "").split(":")
    return int((int(hours) * 3600 + int(minutes) * 60 + Decimal(seconds)) * 1000)


def test_the_report_names_what_needs_attention_and_what_it_was_made_from(
    pages: dict[str, bytes],
) -> None:
    made, said = realistic(), words(pages[REPORT])
    for item in made.attention:
        assert item.kind in said
        assert item.where in said
        assert item.detail in said
    for orphan in made.orphans:
        assert orphan.request_id in said
    for digest in (made.price_digest, made.previous, *made.parts.values()):
        assert digest is not None
        assert digest in said
    for line in made.platform:
        assert number(line.amount) in said


def test_the_report_links_to_each_invoice(pages: dict[str, bytes]) -> None:
    links = {link.attributes["href"] for link in read(pages[REPORT]).all("a")}
    assert links == set(pages) - {REPORT}


def test_an_open_month_is_marked_preliminary() -> None:
    for page in render_html(replace(realistic(), closed=False)).values():
        (heading,) = read(page).all("h1")
        assert heading.text().strip().startswith("Preliminary")
        assert "amounts may still change" in words(page)


def test_a_month_without_use_says_so() -> None:
    made = statement(invoice("customer-bank-A", []))
    pages = render_html(made)
    assert "No use, no fee and no credit in November 2026" in words(pages[BANK])
    assert not read(pages[BANK]).all("svg")
    nobody = words(render_html(statement())[REPORT])
    assert "No customer used anything in November 2026" in nobody
    assert "Nothing needs attention" in nobody


def test_hostile_names_stay_text() -> None:
    line = token_line(HOSTILE, HOSTILE, HOSTILE, "slm", Counts(requests=3, input_tokens=10**6))
    made = replace(
        statement(invoice(HOSTILE, [replace(line, note=HOSTILE, reference=HOSTILE)])),
        environment=HOSTILE,
        previous=HOSTILE,
        platform=(PlatformLine("idle", HOSTILE, HOSTILE, "spot", 5, Decimal(1)),),
        attention=(Attention("clock", HOSTILE, HOSTILE, 1),),
        orphans=(Orphan(HOSTILE, dt.datetime(2026, 11, 1, tzinfo=dt.UTC), *(HOSTILE,) * 5),),
    )
    for name, page in render_html(made).items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        root = read(page)
        assert not root.all("script", "img")
        assert "<script>alert(1)</script>" in words(page)
        assert "{{ 7*7 }}" in words(page)
        assert b"\x00" not in page
        assert "\u202e" not in page.decode()
        (style,) = root.all("style")
        assert "alert(1)" not in style.text()


def test_an_invoice_says_how_to_find_its_requests(pages: dict[str, bytes]) -> None:
    assert (
        "pipeline bill requests --environment production --month 2026-11 --customer customer-bank-A"
    ) in words(pages[BANK])


def test_more_credit_than_cost_is_in_the_customers_favour() -> None:
    credit = Line(kind="credit", customer="a", amount=Decimal("-7.50"), month="2026-10")
    said = words(render_html(statement(invoice("a", [credit])))["invoice-a.html"])
    assert "In the customer's favour \u22127.50 USD" in said
    assert "Credit note October 2026" in said
    assert "Late use" not in said


def test_the_command_quotes_a_name_for_the_shell() -> None:
    made = statement(invoice("a; rm -rf /", []))
    (page,) = (page for name, page in render_html(made).items() if name.startswith("invoice"))
    assert "--customer 'a; rm -rf /'" in words(page)


def test_a_page_asks_for_nothing_outside_itself(pages: dict[str, bytes]) -> None:
    for page in pages.values():
        text = page.decode()
        assert not re.findall(r"https?:|//[a-z]|url\((?!#)|@import|<script|<iframe|<object", text)
        assert {each.attributes["href"] for each in read(page).all("link")} == {"data:,"}
        policy = [
            each.attributes["content"]
            for each in read(page).all("meta")
            if each.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert len(policy) == 1
        assert policy[0].startswith("default-src 'none'")


def test_a_page_is_in_order_for_screen_readers(pages: dict[str, bytes]) -> None:
    for page in pages.values():
        root = read(page)
        (html,) = root.all("html")
        assert html.attributes["lang"] == "en"
        levels = [each.tag for each in root.all("h1", "h2", "h3")]
        assert levels == ["h1"] + ["h2"] * (len(levels) - 1)
        for each in root.all("table"):
            assert each.all("caption")[0].text().strip()
            assert all("scope" in head.attributes for head in each.all("th"))
        ids = [each.attributes["id"] for each in root.all() if "id" in each.attributes]
        assert [name for name, times in Counter(ids).items() if times > 1] == []
        for drawing in root.all("svg"):
            for label in drawing.attributes["aria-labelledby"].split():
                assert label in ids
            assert drawing.all("desc")[0].text().strip()
        references = re.findall(r"(?:url\(|href=\")#([^\")]+)", page.decode())
        assert set(references) <= set(ids)
        for shape in (each for drawing in root.all("svg") for each in drawing.all()):
            for paint in ("fill", "stroke"):
                value = shape.attributes.get(paint, "none")
                assert re.fullmatch(r"none|#[0-9a-f]{6}|[a-z]+", value)


def test_the_same_statement_gives_the_same_bytes(pages: dict[str, bytes], tmp_path: Path) -> None:
    assert render_html(realistic()) == pages
    # Another process with another hash seed, locale, time zone and matplotlib settings.
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.grid: True\nsvg.fonttype: path\n")
    code = (
        "import hashlib; from serving.billing.pages import render_html; "
        "from tests.billing.statements import realistic; "
        "print(*[f'{n} {hashlib.sha256(p).hexdigest()}' "
        "for n, p in render_html(realistic()).items()], sep='\\n')"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONHASHSEED": "7",
            "TZ": "Asia/Tokyo",
            "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert other.stdout.splitlines() == [
        f"{name} {hashlib.sha256(page).hexdigest()}" for name, page in pages.items()
    ]


def test_long_tables_keep_all_their_lines() -> None:
    lines = [
        token_line("a", f"domain-{index}", "v1.0", "slm", Counts(index, input_tokens=index * 1000))
        for index in range(1, 151)
    ]
    orphan = realistic().orphans[0]
    made = replace(statement(invoice("a", lines)), orphans=(orphan,) * (MOST_ORPHANS + 7))
    pages = render_html(made)
    rows = cells(table(pages["invoice-a.html"], "By adapter and pool"))
    assert [row[0] for row in rows[1:-1]] == [line.served_model for line in lines]
    assert "141 others" in words(pages["invoice-a.html"])
    report = words(pages[REPORT])
    assert report.count(orphan.request_id) == MOST_ORPHANS
    assert "7 more are in" in report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": Decimal(7)}, "the lines add up to"),
        ({"due": Decimal(7)}, "rounds to"),
        ({"customer": "customer-other"}, "has a line of 'customer-bank-A'"),
    ],
)
def test_an_invoice_that_cannot_be_is_refused(
    change: dict[str, Decimal | str], message: str
) -> None:
    made = realistic()
    broken: Invoice = replace(made.invoices[0], **change)  # type: ignore[arg-type]
    with pytest.raises(BillingError, match=message):
        render_html(replace(made, invoices=(broken, *made.invoices[1:])))


def test_a_statement_that_cannot_be_is_refused() -> None:
    made = realistic()
    with pytest.raises(BillingError, match="the invoices add up to"):
        render_html(replace(made, total_due=made.total_due + Decimal("0.01")))
    stray = replace(made.days[0], day=dt.date(2026, 10, 31))
    with pytest.raises(BillingError, match="has use of 2026-10-31"):
        render_html(replace(made, days=(stray,)))
    with pytest.raises(BillingError, match="two invoices"):
        render_html(replace(made, invoices=made.invoices * 2))


@given(st.sets(st.text(min_size=1, max_size=80), max_size=8))
@example({"Bank", "bank", "BANK"})
@example({"a/b", "a_b", "a\\b", "..", ".", "con"})
@example({"\ud800"})
def test_file_names_are_safe_and_each_customers_own(customers: set[str]) -> None:
    names = invoice_names(customers)
    assert set(names) == customers
    assert len({name.lower() for name in names.values()}) == len(customers)
    for name in names.values():
        assert re.fullmatch(r"invoice-[A-Za-z0-9_-]*(\.[0-9a-f]{16})?\.html", name)
        assert len(name) < 128


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15))
@example(Decimal("-0.000000000001"))
@example(Decimal("1E+3"))
def test_amounts_are_written_in_full(value: Decimal) -> None:
    whole, beyond = formats.amount(value)
    assert re.fullmatch(r"\u2212?\d{1,3}(,\d{3})*\.\d\d", whole)
    assert money(whole + beyond) == value


@given(st.lists(st.integers(0, 10**15), max_size=60))
def test_shares_add_up_and_are_near_what_they_stand_for(parts: list[int]) -> None:
    made = formats.tenths(parts)
    assert sum(made) == (1000 if sum(parts) else 0)
    for part, share in zip(parts, made, strict=True):
        assert not sum(parts) or abs(Fraction(part * 1000, sum(parts)) - share) < 1


@given(st.integers(0, 10**13))
def test_gpu_time_is_exact(milliseconds: int) -> None:
    assert _milliseconds(formats.gpu_time(milliseconds)) == milliseconds


@given(
    st.decimals(min_value=0, max_value=10**6, places=6),
    st.integers(1, 10**13),
)
def test_a_line_gives_back_its_price(price: Decimal, tokens: int) -> None:
    assert formats.unit_price(of_tokens(tokens, price), tokens) == price


_COUNTS = st.builds(
    lambda requests, fresh, cached, out: Counts(
        requests=requests, input_tokens=fresh + cached, cached_tokens=cached, output_tokens=out
    ),
    *(st.integers(0, 10**9),) * 4,
)
_LINES = st.lists(
    st.builds(
        lambda domain, pool, counts: token_line("a", domain, "v1.0", pool, counts),
        st.sampled_from(["bank-ledger", "claims"]),
        st.sampled_from(["slm", "llm"]),
        _COUNTS,
    )
    | st.builds(
        lambda kind, amount, month: Line(kind=kind, customer="a", amount=amount, month=month),
        st.sampled_from(["flat_fee", "free_tier", "minimum", "credit", "debit"]),
        st.decimals(min_value=-(10**6), max_value=10**6, places=4),
        st.sampled_from([MONTH, "2026-10"]),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(_LINES)
def test_the_summary_adds_up_for_any_lines(lines: list[Line]) -> None:
    made = invoice("a", lines)
    page = render_html(statement(made))["invoice-a.html"]
    if not lines:
        assert "nothing is due" in words(page)
        return
    *parts, exact, rounding, due = cells(table(page, "Amounts are exact"))[1:]
    assert sum(money(row[-1]) for row in parts) == money(exact[-1]) == made.cost
    assert money(exact[-1]) + money(rounding[-1]) == money(due[-1]) == made.due
    said = words(page)
    assert all(number(line.amount) in said for line in lines)


def test_templates_are_in_the_package() -> None:
    folder = resources.files("serving.billing.pages") / "templates"
    assert {"base.html", "invoice.html", "report.html", "parts.html", "style.css"} <= {
        each.name for each in folder.iterdir()
    }
