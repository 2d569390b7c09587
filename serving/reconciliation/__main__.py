"""`python -m serving.reconciliation --config reconciliation.json [--from T --to T]`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from serving.reconciliation.command import NOT_COMPARED, ReportFormat, print_reconciliation
from serving.reconciliation.config import ReconciliationConfig
from serving.reconciliation.errors import ReconciliationError
from serving.settings import SettingsError, load

_ENDING = """
Exit status: 0 when every difference is explained, 4 when one is unknown, 2 when nothing could be
compared (bad configuration or interval, no samples, a ledger that is not shipped yet).
"""


def main() -> int:
    """Compare one interval."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.reconciliation",
        description="Compare the ledger with vLLM, the gateway and the traces.",
        epilog=_ENDING,
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file; see ReconciliationConfig"
    )
    parser.add_argument("--from", dest="began", help="begin, such as 2026-11-25T00:00:00Z")
    parser.add_argument("--to", dest="ended", help="end; both default to the last whole UTC day")
    parser.add_argument(
        "--format", dest="form", type=ReportFormat, choices=list(ReportFormat), default="table"
    )
    arguments = parser.parse_args()
    try:
        config = load(arguments.config, ReconciliationConfig)
        return print_reconciliation(
            config, arguments.began, arguments.ended, ReportFormat(arguments.form), Console()
        )
    except (SettingsError, ReconciliationError) as error:
        sys.stderr.write(f"reconciliation: {error}\n")
        return NOT_COMPARED


if __name__ == "__main__":
    sys.exit(main())
