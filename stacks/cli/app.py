"""`pipeline`: bring stacks up and down, look at them, ask them, approve and roll back releases."""

import signal
import sys
import threading
import warnings
from types import FrameType

import typer
from pulumi import automation as auto
from rich.console import Console
from rich.markup import escape

from registry.errors import RegistryError, StoreError
from serving.billing.errors import BillingError
from stacks.cli import (
    billing,
    charts,
    dashboards,
    inspection,
    lifecycle,
    plan,
    reconciliation,
    releases,
)
from stacks.config.load import ConfigError
from stacks.driver import ReleaseError
from substrates.local.supervisor import SupervisorError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Custom model pipeline: adapters per customer domain, trained, gated, served and billed.",
)
lifecycle.register(app)
releases.register(app)
inspection.register(app)
billing.register(app)
charts.register(app)
dashboards.register(app)
plan.register(app)
reconciliation.register(app)

INTERRUPTED = 130
_EXPECTED = (
    BillingError,
    ConfigError,
    RegistryError,
    ReleaseError,
    StoreError,
    SupervisorError,
)


def main() -> None:
    """Run the command; every expected failure is one message on stderr and exit status 1."""
    console = Console(stderr=True)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        app(standalone_mode=True)
    except _EXPECTED as error:
        _fail(console, str(error))
    except auto.ConcurrentUpdateError:
        _fail(
            console,
            "another `pipeline` or `pulumi` works on this stack right now: wait for it to end. "
            "(Of a process on this machine that is gone, the lock is removed by itself.)",
        )
    except SystemExit as ended:
        # Typer ends an interrupted command with this status and without a word.
        if ended.code == INTERRUPTED:
            console.print(
                "stopped. Jobs that were submitted go on; run the same command again to continue."
            )
        raise


def _interrupt(number: int, frame: FrameType | None) -> None:
    """As by default, but the threads that read the engine's output end without their tracebacks."""
    threading.excepthook = lambda _: None
    warnings.simplefilter("ignore")
    signal.default_int_handler(number, frame)


def _fail(console: Console, message: str) -> None:
    console.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)
