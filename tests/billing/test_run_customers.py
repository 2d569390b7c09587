"""A job cannot book its GPU time to the customer of another domain."""

import datetime as dt

import pytest

from serving.billing.errors import BillingError
from serving.billing.run_customers import of_their_domains
from serving.billing.unbilled import refuse_forfeited
from serving.billing.usage import NO_COUNTS, RunRow, UsageRow

DAY = dt.date(2026, 11, 3)


def _run(customer: str, domain: str = "bank-ledger") -> RunRow:
    return RunRow(
        day=DAY,
        run_id=f"train-slm-{customer}",
        kind="training",
        customer=customer,
        domain=domain,
        gpu_type="H100",
        price_class="spot",
        gpu_ms=3_600_000,
    )


def _usage(customer: str, domain: str = "bank-ledger") -> UsageRow:
    return UsageRow(
        day=DAY,
        customer=customer,
        domain=domain,
        version="v1.0",
        served_model="bank-ledger-v1.0",
        pool="slm",
        experiment=None,
        counts=NO_COUNTS,
    )


def test_a_run_for_the_customer_of_its_domain_is_billed() -> None:
    runs = (_run("bank-a"), _run("insurer-c", "insurance"))
    usage = [_usage("bank-a"), _usage("insurer-c", "insurance")]
    assert of_their_domains(runs, usage) == (runs, ())


def test_a_run_that_names_another_customer_is_named_and_keeps_the_month_open() -> None:
    billed, found = of_their_domains([_run("bank-a"), _run("insurer-c")], [_usage("bank-a")])
    assert [run.customer for run in billed] == ["bank-a"]
    assert [(each.kind, each.where) for each in found] == [("foreign-run", "train-slm-insurer-c")]
    with pytest.raises(BillingError, match="foreign-run:train-slm-insurer-c"):
        refuse_forfeited(found, (), "2026-11")


def test_a_domain_that_changed_hands_in_the_month_has_runs_of_both() -> None:
    runs = (_run("bank-a"), _run("bank-b"))
    assert of_their_domains(runs, [_usage("bank-a"), _usage("bank-b")]) == (runs, ())


def test_a_domain_without_requests_says_nothing_about_its_runs() -> None:
    runs = (_run("bank-a"),)
    assert of_their_domains(runs, [_usage("insurer-c", "insurance")]) == (runs, ())
