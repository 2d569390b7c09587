"""`pipeline`: bring stacks up and down, look at them, ask them, approve and roll back releases."""

import sys

import typer
from pulumi import automation as auto
from rich.console import Console
from rich.markup import escape

from registry.errors import RegistryError
from stacks.cli import inspection, lifecycle, releases
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

INTERRUPTED = 130


def main() -> None:
    """Run the command; every expected failure is one message on stderr and exit status 1."""
    console = Console(stderr=True)
    try:
        app(standalone_mode=True)
    except (ConfigError, RegistryError, ReleaseError, SupervisorError) as error:
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


def _fail(console: Console, message: str) -> None:
    console.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)
