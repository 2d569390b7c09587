"""From a statement to the bytes of its pages."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from serving.billing.pages.check import check
from serving.billing.pages.formats import css_string, printable
from serving.billing.pages.invoice import invoice_page
from serving.billing.pages.names import invoice_names, report_name
from serving.billing.pages.pools import pool_order
from serving.billing.pages.report import report_page
from serving.billing.statement import Statement


def render_html(statement: Statement) -> dict[str, bytes]:
    """Write a statement as HTML pages that need nothing else, on screen and on paper.

    The same statement gives the same bytes. The pages have no script and ask for no address.

    Returns:
        UTF-8 pages by file name: an invoice for each customer, and the report of the platform
        team, which links to them.

    Raises:
        BillingError: when the statement does not add up, or an invoice has a line of another
            customer.
    """
    check(statement)
    names = invoice_names(invoice.customer for invoice in statement.invoices)
    pools = pool_order(statement)
    invoice_template = _environment().get_template("invoice.html")
    pages = {
        names[invoice.customer]: invoice_template.render(
            statement=statement, invoice=invoice, page=invoice_page(statement, invoice, pools)
        )
        for invoice in statement.invoices
    }
    report_template = _environment().get_template("report.html")
    pages[report_name(statement.month)] = report_template.render(
        statement=statement, page=report_page(statement, names)
    )
    return {name: text.encode("utf-8") for name, text in pages.items()}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("serving.billing.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
    )
    environment.filters["css_string"] = css_string
    return environment


def _finalize(value: object) -> object:
    """Make a text printable before it is escaped; what templates made is left alone."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value
