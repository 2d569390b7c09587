"""Options that several commands have."""

from typing import Annotated

import typer

Environment = Annotated[str, typer.Option("--environment", "-e", help="environment stack")]
