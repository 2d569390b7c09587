"""Whether a statement may be shown: its sums and its tenants. No I/O."""

from serving.billing import money, months
from serving.billing.errors import BillingError
from serving.billing.statement import Invoice, Statement


def check(statement: Statement) -> None:
    """Refuse a statement that does not add up, or that would show a customer another's line.

    Raises:
        BillingError: when it does; no page may leave the house then.
    """
    for invoice in statement.invoices:
        _check_invoice(statement.month, invoice)
    customers = [invoice.customer for invoice in statement.invoices]
    if len(set(customers)) != len(customers):
        raise BillingError(f"{statement.month}: a customer has two invoices in {customers}")
    for day in statement.days:
        if months.month_of(day.day) != statement.month:
            raise BillingError(f"{statement.month}: has use of {day.day}, which is another month")
    total = money.add(invoice.due for invoice in statement.invoices)
    if total != statement.total_due:
        raise BillingError(
            f"{statement.month}: the invoices add up to {total}, the statement says "
            f"{statement.total_due}: make the statement again"
        )


def _check_invoice(month: str, invoice: Invoice) -> None:
    where = f"{month}, invoice of {invoice.customer!r}"
    for line in invoice.lines:
        if line.customer != invoice.customer:
            raise BillingError(f"{where}: has a line of {line.customer!r}: no page is written")
    cost = money.add(line.amount for line in invoice.lines)
    if cost != invoice.cost:
        raise BillingError(f"{where}: the lines add up to {cost}, the invoice says {invoice.cost}")
    due = money.round_due(cost)
    if due != invoice.due:
        raise BillingError(f"{where}: {cost} rounds to {due}, the invoice says {invoice.due}")
