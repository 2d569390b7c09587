"""Brings MLflow to the users, passwords and permissions that a configuration says."""

import logging

from serving.mlflow_users.administrator import Administrator
from serving.mlflow_users.config import PREFIX, MlflowUsersConfig

_log = logging.getLogger(__name__)


def provide(config: MlflowUsersConfig) -> None:
    """Make what is missing, and take back what is too much. A second time changes nothing.

    Raises:
        SettingsError: A secret that the configuration names is not there.
        MlflowUsersError: MLflow is away, or refused.
    """
    passwords = {user.name: user.password.read() for user in config.users}
    mlflow = Administrator(config.url, config.admin_username.read(), config.admin_password.read())
    experiments = {user.experiment: mlflow.experiment(user.experiment) for user in config.users}
    wanted = {user.name: {experiments[user.experiment]: user.permission} for user in config.users}
    known = mlflow.users()
    # First: whoever creates experiments, or renames one's own, may hold a permission on one of
    # these. Of people it is theirs who administer MLflow.
    for name, held in known.items():
        if name.startswith(PREFIX):
            for experiment, permission in held.items():
                theirs = name not in wanted and experiment not in experiments.values()
                if not theirs and wanted.get(name, {}).get(experiment) != permission:
                    mlflow.revoke(name, experiment)
                    _log.warning("%s: lost %s on experiment %s", name, permission, experiment)
    for name, permissions in wanted.items():
        if name in known:
            mlflow.set_password(name, passwords[name])
        else:
            mlflow.create(name, passwords[name])
        for experiment, permission in permissions.items():
            if known.get(name, {}).get(experiment) != permission:
                mlflow.grant(name, experiment, permission)
            _log.info("%s: %s on experiment %s", name, permission, experiment)
