"""The pages in a real browser: on a desktop, on a phone and on paper."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from serving.billing.pages import render_html
from tests.billing.statements import Counts, invoice, realistic, statement, token_line

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None,
    reason="no Chromium with its driver on PATH (Debian: chromium chromium-driver)",
)
PHONE_PX = 360
SHEET_PX = 680
"""Width of A4 less its margins, at 96 px an inch."""
# Parts of the page beyond the right edge, and texts of a chart that lie on each other.
TOO_WIDE = """
return [...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  return box.width > 1 && box.right > arguments[0] + 0.5;
}).map(each => each.outerHTML.slice(0, 200));
"""
OVERLAPS = """
const found = [];
for (const drawing of document.querySelectorAll('svg')) {
  const frame = drawing.getBoundingClientRect();
  const texts = [...drawing.querySelectorAll('text')];
  const boxes = texts.map(each => each.getBoundingClientRect());
  boxes.forEach((a, i) => {
    if (a.left < frame.left - 4 || a.right > frame.right + 4) found.push(texts[i].textContent);
    boxes.slice(i + 1).forEach((b, j) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 0 && down > 2) found.push([texts[i].textContent, texts[i + 1 + j].textContent]);
    });
  });
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(tmp_path_factory.mktemp("pages"), render_html(realistic()))


def written(folder: Path, made: dict[str, bytes]) -> list[Path]:
    for name, page in made.items():
        (folder / name).write_bytes(page)
    return [folder / name for name in made]


def long_names() -> dict[str, bytes]:
    """The longest names that the configuration allows, amounts of many digits, many lines."""
    customer, domain = "C" * 63, "d" * 40
    lines = [
        token_line(
            customer,
            domain,
            f"v{index}.999999",
            "llm" if index % 2 else "slm",
            Counts(
                requests=10**8 + index,
                failed=10**6,
                input_tokens=4 * 10**11 + index,
                cached_tokens=10**11 + 7,
                output_tokens=10**11 + index * 3,
                wasted_input_tokens=10**9,
                wasted_output_tokens=10**9,
            ),
        )
        for index in range(60)
    ]
    return render_html(
        replace(
            statement(invoice(customer, lines), closed=False),
            days=realistic().days,
            orphans=tuple(replace(each, writer="w" * 90) for each in realistic().orphans),
            parts=realistic().parts,
        )
    )


def open_page(browser: webdriver.Chrome, page: Path, width_px: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width_px, "height": 780, "deviceScaleFactor": 1, "mobile": width_px < 500},
    )
    browser.get(page.as_uri())


def printed(browser: webdriver.Chrome, page: Path) -> bytes:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(page.as_uri())
    answer: dict[str, Any] = browser.execute_cdp_cmd(
        "Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True}
    )
    return base64.b64decode(answer["data"])


def sheets(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_a_page_opens_without_an_error_and_asks_for_nothing(
    browser: webdriver.Chrome, pages: list[Path]
) -> None:
    for page in pages:
        browser.get_log("browser")
        open_page(browser, page, 1280)
        assert browser.get_log("browser") == []
        assert browser.execute_script("return performance.getEntriesByType('resource')") == []


def test_the_amount_due_is_seen_first(browser: webdriver.Chrome, pages: list[Path]) -> None:
    due = {made.customer: made.due for made in realistic().invoices}
    for page in pages:
        for width in (1280, PHONE_PX):
            open_page(browser, page, width)
            (shown,) = browser.find_elements("css selector", ".due strong")
            amount = due.get(page.stem.removeprefix("invoice-"), realistic().total_due)
            assert shown.is_displayed()
            assert shown.text == f"{amount:,} USD"
            assert shown.location["y"] + shown.size["height"] < 780


@pytest.mark.parametrize("width", [1280, 768, PHONE_PX])
def test_nothing_is_wider_than_the_screen(
    browser: webdriver.Chrome, pages: list[Path], tmp_path: Path, width: int
) -> None:
    for page in (*pages, *written(tmp_path, long_names())):
        open_page(browser, page, width)
        measured = browser.execute_script("return document.documentElement.scrollWidth")
        assert browser.execute_script(TOO_WIDE, width) == []
        assert measured <= width


def test_nothing_is_wider_than_the_sheet(
    browser: webdriver.Chrome, pages: list[Path], tmp_path: Path
) -> None:
    for page in (*pages, *written(tmp_path, long_names())):
        open_page(browser, page, SHEET_PX)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert browser.execute_script(TOO_WIDE, SHEET_PX) == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [1280, PHONE_PX])
def test_no_label_of_a_chart_lies_on_another(
    browser: webdriver.Chrome, pages: list[Path], tmp_path: Path, width: int
) -> None:
    for page in (*pages, *written(tmp_path, long_names())):
        open_page(browser, page, width)
        assert browser.execute_script(OVERLAPS) == []


def test_pages_print_on_a_few_sheets_of_a4(browser: webdriver.Chrome, pages: list[Path]) -> None:
    for page in pages:
        pdf = printed(browser, page)
        assert pdf.startswith(b"%PDF-")
        assert 1 <= sheets(pdf) <= 4, page.name
        box = re.search(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf)
        assert box is not None
        assert (round(float(box[1])), round(float(box[2]))) == (595, 842)


def test_a_long_table_prints_with_its_heading_on_each_sheet_and_whole_rows(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    (page,) = (each for each in written(tmp_path, long_names()) if "invoice" in each.name)
    assert 6 <= sheets(printed(browser, page)) <= 20
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    style = "return getComputedStyle(document.querySelector('#tokens {}')).{}"
    assert browser.execute_script(style.format("thead", "display")) == "table-header-group"
    assert browser.execute_script(style.format("tbody tr", "breakInside")) == "avoid"
    assert browser.execute_script(style.format("tfoot", "display")) == "table-row-group"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
