"""What MLflow's administrator does with users, by its REST API.

Users: `/api/2.0/mlflow/users/*`; permissions: `/api/3.0/mlflow/users/permissions/*` (MLflow 3.17,
`mlflow.server.auth.routes`). Errors name the call and MLflow's error code, and nothing else of the
answer: a message of its database may hold a password's hash.
"""

from http import HTTPStatus
from typing import Any, Final

import requests

_TIMEOUT_S: Final = 30
_USERS: Final = "/api/2.0/mlflow/users"
_EXPERIMENTS: Final = "/api/2.0/mlflow/experiments"
_PERMISSIONS: Final = "/api/3.0/mlflow/users/permissions"
_EXPERIMENT: Final = "experiment"
_ACTIVE: Final = "active"


class MlflowUsersError(Exception):
    """MLflow is away, refused a call, or is not as it must be."""


class Administrator:
    """MLflow as its administrator sees it."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.auth = username, password

    def experiment(self, name: str) -> str:
        """Id of the experiment, which is created where it is missing.

        Raises:
            MlflowUsersError: It is deleted, or MLflow does not answer as documented.
        """
        response = self._send(
            "GET", f"{_EXPERIMENTS}/get-by-name", params={"experiment_name": name}
        )
        if response.status_code == HTTPStatus.NOT_FOUND:
            created = self._call("POST", f"{_EXPERIMENTS}/create", json={"name": name})
            return str(created["experiment_id"])
        found = self._body(response)[_EXPERIMENT]
        if found["lifecycle_stage"] != _ACTIVE:
            raise MlflowUsersError(
                f"{self._url}: experiment {name!r} is {found['lifecycle_stage']}: restore it, or "
                "remove it for good with `mlflow gc`"
            )
        return str(found["experiment_id"])

    def users(self) -> dict[str, dict[str, str]]:
        """What each user may do by itself, by id of the experiment."""
        return {
            user["username"]: {
                granted["resource_pattern"]: granted["permission"]
                for role in user["roles"]
                if role["name"] == f"__user_{user['id']}__"
                for granted in role["permissions"]
                if granted["resource_type"] == _EXPERIMENT
            }
            for user in self._call("GET", f"{_USERS}/list")["users"]
        }

    def create(self, username: str, password: str) -> None:
        """Make a user without any permission."""
        body = {"username": username, "password": password}
        self._call("POST", f"{_USERS}/create", json=body)

    def set_password(self, username: str, password: str) -> None:
        """Give a user another password; the old one is refused from then on."""
        body = {"username": username, "password": password}
        self._call("PATCH", f"{_USERS}/update-password", json=body)

    def grant(self, username: str, experiment: str, permission: str) -> None:
        """Permit something that the user has no permission on yet."""
        body = _on(username, experiment) | {"permission": permission}
        self._call("POST", f"{_PERMISSIONS}/grant", json=body)

    def revoke(self, username: str, experiment: str) -> None:
        """Take what was granted."""
        self._call("POST", f"{_PERMISSIONS}/revoke", json=_on(username, experiment))

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return self._body(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(
                method, self._url + path, timeout=_TIMEOUT_S, allow_redirects=False, **options
            )
        except requests.RequestException as error:
            raise MlflowUsersError(f"{self._url}{path}: {type(error).__name__}: {error}") from error

    def _body(self, response: requests.Response) -> dict[str, Any]:
        path = response.url.partition("?")[0]
        try:
            body = response.json()
        except requests.JSONDecodeError:
            body = None
        if response.status_code != HTTPStatus.OK or not isinstance(body, dict):
            code = body.get("error_code", "") if isinstance(body, dict) else ""
            raise MlflowUsersError(f"{path}: answered {response.status_code} {code}".rstrip())
        return body


def _on(username: str, experiment: str) -> dict[str, str]:
    return {"username": username, "resource_type": _EXPERIMENT, "resource_id": experiment}
