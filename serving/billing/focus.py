"""A statement as FOCUS rows: the FinOps Open Cost and Usage Specification. No I/O.

Columns are those of FOCUS 1.2 with the names that its draft for AI models adds: one row for each
type of token, `SkuMeter`, `SkuPriceDetails` and provider names as in its example
`specification/data/ai_model_billing/per_token_ai_model_api.csv`. `BilledCost` is exact; where an
invoice's total was rounded, a row of its own holds the difference, so that a customer's rows add up
to what is due. Times are UTC, and the end of a period is not in it.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from serving.billing import money, months
from serving.billing.statement import Invoice, Line, LineKind, Statement

PROVIDER: Final = "Custom Model Pipeline"
COLUMNS: Final = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"),
    *("ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice"),
    *("EffectiveCost", "HostProviderName", "InvoiceId", "InvoiceIssuerName", "ListCost"),
    *("ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName"),
    *("PublisherName", "ResourceId", "ServiceCategory", "ServiceName", "ServiceProviderName"),
    *("ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId"),
    *("SubAccountId", "SubAccountName", "Tags"),
)
_Row = dict[str, str]


@dataclass(frozen=True)
class _Meter:
    """A type of token."""

    sku: str
    name: str
    details: Mapping[str, str]


_INPUT: Final = _Meter(
    "input", "Input Tokens", {"TokenCacheAction": "Uncached", "TokenDirection": "Input"}
)
_CACHED: Final = _Meter(
    "cache-read", "Cache Read Input Tokens", {"TokenCacheAction": "Read", "TokenDirection": "Input"}
)
_OUTPUT: Final = _Meter("output", "Output Tokens", {"TokenDirection": "Output"})

# Category, frequency and description of charges that have no meter.
_AGREED: Final[Mapping[LineKind, tuple[str, str, str]]] = {
    "flat_fee": ("Purchase", "Recurring", "Monthly fee"),
    "minimum": ("Adjustment", "Recurring", "Top-up to the monthly minimum"),
    "credit": ("Credit", "One-Time", "Credit note"),
    "debit": ("Adjustment", "One-Time", "Debit note"),
}
_JOBS: Final[Mapping[LineKind, str]] = {
    "gpu_time": "inference",
    "training": "training",
    "evaluation": "evaluation",
}


def render_focus(statement: Statement) -> str:
    """Return the invoices as CSV, one row for each type of token and for every other charge."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for invoice in statement.invoices:
        for row in _rows(invoice, statement.month):
            writer.writerow({**_common(statement, invoice), **row})
    return stream.getvalue()


def _rows(invoice: Invoice, month: str) -> Iterator[_Row]:
    for line in invoice.lines:
        about = _about(line, month)
        if line.kind in {"tokens", "free_tier"}:
            yield from ({**about, **row} for row in _token_rows(line))
        elif line.kind in _JOBS:
            yield {**about, **_gpu_time(line)}
        else:
            yield {**about, **_agreed(line)}
    if rounding := money.subtract(invoice.due, invoice.cost):
        yield {
            **_cost(rounding),
            "ChargeCategory": "Adjustment",
            "ChargeDescription": "Rounding of the invoice's total to 0.01, half to even",
            "ChargeFrequency": "One-Time",
        }


def _common(statement: Statement, invoice: Invoice) -> _Row:
    start, end = _period(statement.month)
    return {
        "BillingAccountId": invoice.customer,
        "BillingAccountName": invoice.customer,
        "BillingCurrency": statement.currency,
        "BillingPeriodStart": start,
        "BillingPeriodEnd": end,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "HostProviderName": PROVIDER,
        "InvoiceId": f"{statement.environment}-{statement.month}-{invoice.customer}",
        "InvoiceIssuerName": PROVIDER,
        "ProviderName": PROVIDER,
        "PublisherName": PROVIDER,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Custom models",
        "ServiceProviderName": PROVIDER,
        "ServiceSubcategory": "Generative AI",
    }


def _about(line: Line, month: str) -> _Row:
    start, end = _period(line.month)
    tags = {"kind": line.kind, "pool": line.pool, "experiment": line.experiment, "note": line.note}
    return {
        "ChargeClass": "" if line.month == month else "Correction",
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "ResourceId": line.served_model or line.reference or "",
        "SubAccountId": line.domain or "",
        "SubAccountName": line.domain or "",
        "Tags": _json({name: value for name, value in tags.items() if value}),
    }


def _token_rows(line: Line) -> Iterator[_Row]:
    counts = line.counts
    for meter, tokens, amount in (
        (_INPUT, counts.input_tokens - counts.cached_tokens, line.input_amount),
        (_CACHED, counts.cached_tokens, line.cached_amount),
        (_OUTPUT, counts.output_tokens, line.output_amount),
    ):
        if tokens:
            used = line.kind == "tokens"
            yield {
                **_token_sku(line, meter),
                **_cost(amount),
                **(_token_use(tokens, amount) if used else _given_back(line, meter)),
            }


def _token_sku(line: Line, meter: _Meter) -> _Row:
    details = {
        "ModelDeveloper": PROVIDER,
        "ModelFamily": line.domain,
        "ModelId": line.served_model,
        "ModelVersion": line.version,
        **meter.details,
    }
    return {
        "ChargeDescription": f"{meter.name} of {line.served_model} in pool {line.pool}",
        "SkuId": f"{line.pool}-{meter.sku}",
        "SkuMeter": meter.name,
        "SkuPriceDetails": _json({name: value for name, value in details.items() if value}),
        "SkuPriceId": f"{line.pool}-{meter.sku}-{line.price_from}",
    }


def _token_use(tokens: int, amount: Decimal) -> _Row:
    return {
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": str(tokens),
        "ConsumedUnit": "Tokens",
        "PricingQuantity": money.plain(money.millions(tokens)),
        "PricingUnit": "1000000 Tokens",
        **_unit_price(money.per_million(amount, tokens)),
    }


def _given_back(line: Line, meter: _Meter) -> _Row:
    return {
        "ChargeCategory": "Credit",
        "ChargeFrequency": "Recurring",
        "ChargeDescription": f"Free {meter.name} of {line.served_model} in pool {line.pool}",
    }


def _gpu_time(line: Line) -> _Row:
    use = _JOBS[line.kind]
    sku = f"{use}-{line.pool or line.gpu_type}-gpu"
    row = {
        **_cost(line.amount),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"GPU time for {use} on {line.gpu_type}, {line.price_class}",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": str(line.gpu_ms),
        "ConsumedUnit": "GPU-Milliseconds",
        "SkuId": sku,
        "SkuMeter": "GPU Time",
        "SkuPriceId": f"{sku}-{line.price_class}-{line.price_from}",
    }
    if line.gpu_hour is None:
        return row
    return {
        **row,
        **_unit_price(line.gpu_hour),
        "PricingQuantity": money.plain(money.gpu_hours(line.gpu_ms)),
        "PricingUnit": "GPU-Hours",
    }


def _agreed(line: Line) -> _Row:
    category, frequency, description = _AGREED[line.kind]
    row = {
        **_cost(line.amount),
        "ChargeCategory": category,
        "ChargeDescription": f"{description}: {line.note}" if line.note else description,
        "ChargeFrequency": frequency,
    }
    if line.kind != "flat_fee":
        return row
    return {**row, **_unit_price(line.amount), "PricingQuantity": "1", "PricingUnit": "Months"}


def _cost(amount: Decimal) -> _Row:
    names = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
    return dict.fromkeys(names, money.plain(amount))


def _unit_price(price: Decimal) -> _Row:
    text = money.plain(price)
    return {"ContractedUnitPrice": text, "ListUnitPrice": text, "PricingCategory": "Standard"}


def _period(month: str) -> tuple[str, str]:
    start, end = months.bounds(month)
    return f"{start:%Y-%m-%dT%H:%M:%SZ}", f"{end:%Y-%m-%dT%H:%M:%SZ}"


def _json(values: Mapping[str, str | None]) -> str:
    return json.dumps(values, ensure_ascii=False, sort_keys=True)
