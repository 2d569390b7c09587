"""`python -m serving.billing TASK --config billing.json`: billing, scheduled and by hand.

Exit status 3 of bill and close: it is made, and a person must look at it (see its attention and
orphans). Exit status 1: it cannot be done, and why. Exit status 2: the call or its configuration
cannot be used.
"""

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path

from registry.errors import RegistryError, StoreError
from serving.billing import tasks
from serving.billing.closed import AcceptedLoss
from serving.billing.command import BillFormat
from serving.billing.config import BillingConfig
from serving.billing.errors import BillingError
from serving.billing.notes import order_note
from serving.billing.unbilled import AcceptedUnbilled
from serving.settings import SettingsError, load


def main(arguments: Sequence[str] | None = None, *, now: dt.datetime | None = None) -> int:
    """Do a task; by default what the command line says, at this moment."""
    asked = _parser().parse_args(arguments)
    try:
        config = load(asked.config, BillingConfig)
    except SettingsError as error:
        sys.stderr.write(f"billing: {error}\n")
        return 2
    try:
        return _do(asked, config, now or dt.datetime.now(dt.UTC))
    except (BillingError, RegistryError, StoreError) as error:
        sys.stderr.write(f"billing: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.billing", description=__doc__)
    added = parser.add_subparsers(dest="task", required=True)

    def task(name: str, does: str) -> argparse.ArgumentParser:
        made = added.add_parser(name, help=does, description=does)
        made.add_argument("--config", type=Path, required=True, help="JSON of a BillingConfig")
        return made

    task("parts", "make the day parts of the open months, so that the others find them")
    task("verify", "prove that the closed months are what was written, and that none is missing")
    bill = task("bill", "print the bill of a month")
    bill.add_argument("--month", help="YYYY-MM, in UTC; default: this month")
    bill.add_argument("--format", type=BillFormat, choices=list(BillFormat), default="table")
    bill.add_argument("--out", type=Path, help="folder to write files to, instead of printing")
    close = task("close", "close every month whose time has come, in order, or one month")
    close.add_argument("--month", help="YYYY-MM")
    close.add_argument("--accept-lost", action="append", default=[], metavar="WRITER:LEDGER_ID")
    close.add_argument("--accept-unbilled", action="append", default=[], metavar="KIND:WHERE")
    close.add_argument("--reason", default="", help="why it is given up; is kept")
    for kind in ("credit", "debit"):
        note = task(kind, f"write a {kind} note, for the next open month's invoice")
        note.add_argument("--month", required=True, help="closed month to correct, YYYY-MM")
        for name in ("--customer", "--amount", "--reason", "--by"):
            note.add_argument(name, required=True)
    requests = task("requests", "list the requests behind a customer's lines as CSV")
    requests.add_argument("--month", required=True, help="YYYY-MM")
    requests.add_argument("--customer", required=True)
    requests.add_argument("--domain", help="of this domain only")
    requests.add_argument("--adapter", help="of this served model only")
    return parser


def _do(asked: argparse.Namespace, config: BillingConfig, now: dt.datetime) -> int:
    match asked.task:
        case "parts":
            tasks.refresh(config, now)
        case "verify":
            tasks.verify(config, now)
        case "bill":
            return tasks.bill(config, now, month=asked.month, form=asked.format, out=asked.out)
        case "close":
            accepted = [AcceptedLoss.named(name, asked.reason) for name in asked.accept_lost]
            unbilled = [
                AcceptedUnbilled.named(name, asked.reason) for name in asked.accept_unbilled
            ]
            return tasks.close(config, now, month=asked.month, accepted=accepted, unbilled=unbilled)
        case "credit" | "debit":
            names = ("customer", "amount", "month", "reason", "by")
            order = {name: getattr(asked, name) for name in names}
            tasks.note(config, now, order_note(**order, kind=asked.task, date=now.date()))
        case "requests":
            tasks.requests(
                config,
                now,
                month=asked.month,
                customer=asked.customer,
                domain=asked.domain,
                served_model=asked.adapter,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
