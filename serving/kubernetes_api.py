"""How a process reaches the API of its cluster."""

from pathlib import Path
from typing import Any

from kubernetes import client, config

from serving.settings import SettingsError


def connect(kubeconfig: Path | None) -> Any:
    """A client of the Kubernetes API; nothing is asked yet.

    Args:
        kubeconfig: None inside a cluster: the token and the address that its pods are given.

    Raises:
        SettingsError: This is no pod of a cluster, or there is no such kubeconfig.
    """
    try:
        if kubeconfig is not None:
            return config.new_client_from_config(config_file=str(kubeconfig))
        config.load_incluster_config()
    except config.ConfigException as error:
        place = "kubeconfig" if kubeconfig is None else f"kubeconfig {kubeconfig}"
        raise SettingsError(
            f"{place}: {error}: name the file of a cluster, or run in a pod without one"
        ) from error
    return client.ApiClient()
