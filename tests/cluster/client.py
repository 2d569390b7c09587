"""A client of the Kubernetes API: the few calls that tests make, with the server's own words."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

Object = Mapping[str, Any]

_MANAGER = "tests"
_TIMEOUT_S = 30


class ApiError(Exception):
    """The API server refused a request; the message is the server's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class _Kind:
    path: str
    namespaced: bool


@dataclass
class Client:
    """Talks to one API server as one user."""

    url: str
    token: str
    authority: Path
    _session: requests.Session = field(default_factory=requests.Session, repr=False)
    _kinds: dict[tuple[str, str], _Kind] = field(default_factory=dict, repr=False)

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return self.request("GET", "/readyz").text == "ok"
        except ApiError:
            return False

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request.

        Raises:
            ApiError: The answer is not a success.
            OSError: There is no answer.
        """
        answer = self._session.request(
            method,
            f"{self.url}{path}",
            headers={"Authorization": f"Bearer {self.token}", **options.pop("headers", {})},
            verify=str(self.authority),
            timeout=_TIMEOUT_S,
            **options,
        )
        if not answer.ok:
            raise ApiError(answer.status_code, _message(answer))
        return answer

    def apply(self, thing: Object, *, dry_run: bool = False) -> dict[str, Any]:
        """Apply an object on the server's side; fields that its kind does not have are refused.

        Raises:
            ApiError: The server refuses it.
        """
        return dict(self._apply(thing, dry_run=dry_run).json())

    def warnings(self, thing: Object, *, dry_run: bool = False) -> list[str]:
        """Apply an object; return what the server warns of.

        Raises:
            ApiError: The server refuses it.
        """
        header = self._apply(thing, dry_run=dry_run).headers.get("Warning", "")
        quoted = re.findall(r'299 - "((?:[^"\\]|\\.)*)"', header)
        return [re.sub(r"\\(.)", r"\1", text) for text in quoted]

    def _apply(self, thing: Object, *, dry_run: bool) -> requests.Response:
        parameters = {"fieldManager": _MANAGER, "fieldValidation": "Strict", "force": "true"}
        if dry_run:
            parameters["dryRun"] = "All"
        return self.request(
            "PATCH",
            self.path_of(thing),
            params=parameters,
            json=thing,
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        """Read an object.

        Raises:
            ApiError: It does not exist (status 404), or may not be read.
        """
        wanted = _reference(api_version, kind, name, namespace)
        return dict(self.request("GET", self.path_of(wanted)).json())

    def list(self, api_version: str, kind: str, namespace: str = "") -> list[dict[str, Any]]:
        """Read all objects of a kind, of one namespace or of all."""
        answer = self.request("GET", self._collection(api_version, kind, namespace)).json()
        return list(answer["items"])

    def log(self, namespace: str, labels: str) -> str:
        """What the pods with these labels have printed."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        found = self.request("GET", pods, params={"labelSelector": labels}).json()["items"]
        names = [each["metadata"]["name"] for each in found]
        return "".join(self.request("GET", f"{pods}/{name}/log").text for name in names)

    def delete(self, thing: Object) -> None:
        """Delete an object and what it owns, in the background."""
        self.request("DELETE", self.path_of(thing), params={"propagationPolicy": "Background"})

    def wait(
        self, thing: Object, condition: Callable[[dict[str, Any]], bool], timeout_s: float
    ) -> dict[str, Any]:
        """Read an object until a condition holds.

        Raises:
            TimeoutError: It does not hold in time; with the last status.
        """
        until = time.monotonic() + timeout_s
        last: object = "it does not exist"
        while time.monotonic() < until:
            try:
                found = dict(self.request("GET", self.path_of(thing)).json())
            except ApiError as error:
                if error.status != requests.codes.not_found:
                    raise
            else:
                if condition(found):
                    return found
                last = found.get("status")
            time.sleep(0.2)
        raise TimeoutError(f"{name_of(thing)}: not so within {timeout_s:.0f} s; last: {last}")

    def path_of(self, thing: Object) -> str:
        """Path of an object.

        Raises:
            ApiError: The server does not know its kind.
        """
        metadata = thing["metadata"]
        namespace = metadata.get("namespace", "default")
        collection = self._collection(thing["apiVersion"], thing["kind"], namespace)
        return f"{collection}/{metadata['name']}"

    def _collection(self, api_version: str, kind: str, namespace: str) -> str:
        found = self._kind(api_version, kind)
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        middle = f"/namespaces/{namespace}" if found.namespaced and namespace else ""
        return f"{root}{middle}/{found.path}"

    def _kind(self, api_version: str, kind: str) -> _Kind:
        if (api_version, kind) not in self._kinds:
            root = "apis" if "/" in api_version else "api"
            for each in self.request("GET", f"/{root}/{api_version}").json()["resources"]:
                if "/" not in each["name"]:
                    self._kinds[api_version, each["kind"]] = _Kind(each["name"], each["namespaced"])
        if (api_version, kind) not in self._kinds:
            raise ApiError(requests.codes.not_found, f"no kind {kind} in {api_version}")
        return self._kinds[api_version, kind]


def name_of(thing: Object) -> str:
    """Kind, namespace and name, for messages."""
    metadata = thing["metadata"]
    parts = [thing["kind"], metadata.get("namespace", ""), metadata.get("name", "")]
    return "/".join(part for part in parts if part)


def has_condition(thing: Object, type_: str) -> bool:
    """Whether a condition of an object's status is true."""
    conditions = thing.get("status", {}).get("conditions") or []
    return any(each["type"] == type_ and each["status"] == "True" for each in conditions)


def _reference(api_version: str, kind: str, name: str, namespace: str) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:200]}"
