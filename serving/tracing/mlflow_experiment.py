"""The MLflow experiment that traces belong to."""

from http import HTTPStatus
from typing import Any

import requests

_TIMEOUT_S = 5


def experiment_id(mlflow_url: str, name: str, *, auth: tuple[str, str] | None = None) -> str:
    """Find the experiment by its name, or create it.

    Raises:
        requests.RequestException: MLflow is away, or the experiment is deleted.
    """
    api = f"{mlflow_url}/api/2.0/mlflow/experiments"
    found = _get(api, name, auth)
    if found is not None:
        return found
    created = requests.post(f"{api}/create", json={"name": name}, auth=auth, timeout=_TIMEOUT_S)
    if created.status_code == HTTPStatus.BAD_REQUEST:
        # Another router created it between the two calls.
        found = _get(api, name, auth)
        if found is not None:
            return found
    created.raise_for_status()
    return str(created.json()["experiment_id"])


def _get(api: str, name: str, auth: tuple[str, str] | None) -> str | None:
    response = requests.get(
        f"{api}/get-by-name", params={"experiment_name": name}, auth=auth, timeout=_TIMEOUT_S
    )
    if response.status_code == HTTPStatus.NOT_FOUND:
        return None
    response.raise_for_status()
    body: dict[str, Any] = response.json()
    return str(body["experiment"]["experiment_id"])
