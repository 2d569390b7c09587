"""The monthly bill: tokens from the ledger, times the prices of the day, as exact decimals."""

from serving.billing.bill import Bill, CustomerTotal, Line, bill
from serving.billing.errors import BillingError
from serving.billing.prices import PriceTable, read_prices
from serving.billing.render import render_csv, render_json, render_table

__all__ = [
    "Bill",
    "BillingError",
    "CustomerTotal",
    "Line",
    "PriceTable",
    "bill",
    "read_prices",
    "render_csv",
    "render_json",
    "render_table",
]
