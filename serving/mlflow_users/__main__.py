"""`python -m serving.mlflow_users --config users.json`."""

import argparse
import sys
from pathlib import Path

from serving.mlflow_users.administrator import MlflowUsersError
from serving.mlflow_users.config import MlflowUsersConfig
from serving.mlflow_users.provide import provide
from serving.settings import SettingsError, configure_logging, load

_ENDING = """
Exit status: 0 when MLflow is as the file says, 1 when it is away or refused, 2 when the
configuration cannot be used.
"""


def main() -> int:
    """Make the users."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.mlflow_users",
        description="Make users of MLflow with one experiment each.",
        epilog=_ENDING,
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file; see MlflowUsersConfig"
    )
    configure_logging()
    try:
        provide(load(parser.parse_args().config, MlflowUsersConfig))
    except (SettingsError, MlflowUsersError) as error:
        sys.stderr.write(f"mlflow_users: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
