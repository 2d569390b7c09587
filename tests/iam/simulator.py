"""Decisions of a real simulator of IAM, which runs as a process of its own."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "tools" / "iam-simulator"
# The simulator knows no key of an encryption context. What stands in for it is compared as text, as
# it is, in policies and requests alike; nothing else uses it.
_STAND_INS = {"kms:EncryptionContext:aws:s3:arn": "kms:RequestAlias"}
_INSTALLED = _FOLDER / "node_modules" / "@cloud-copilot" / "iam-simulate"


class Simulator:
    """Asks a running simulator, one request after the other."""

    def __init__(self) -> None:
        """Start it."""
        self._known: dict[str, dict[str, Any]] = {}
        self._process = subprocess.Popen(
            ["node", str(_FOLDER / "simulate.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def allows(
        self,
        *,
        principal: str,
        action: str,
        resource: str,
        account: str,
        context: Mapping[str, str],
        identity: Sequence[Any],
        resource_policy: Any = None,
    ) -> bool:
        """Whether a request is allowed.

        Raises:
            AssertionError: A policy is not valid, or a key of the context is none of the action.
        """
        request = {
            "request": {
                "principal": principal,
                "action": action,
                "resource": {"resource": resource, "accountId": account},
                "contextVariables": dict(context),
            },
            "identityPolicies": [
                {"name": str(number), "policy": policy} for number, policy in enumerate(identity)
            ],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
        }
        if resource_policy is not None:
            request["resourcePolicy"] = resource_policy
        answer = self._ask(request)
        assert answer["errors"] is None, answer["errors"]
        # A misspelt key would never be in a request, and a condition on it would say nothing.
        assert answer["ignored"] == [], (action, answer["ignored"])
        decision: str = answer["decision"]
        return decision == "Allowed"

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        text = json.dumps(request)
        for key, stand_in in _STAND_INS.items():
            assert stand_in not in text
            text = text.replace(key, stand_in)
        if text not in self._known:
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()
            self._known[text] = json.loads(self._process.stdout.readline())
        return self._known[text]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)


def require_simulator() -> None:
    """Skip where it is not installed."""
    if shutil.which("node") is None or not _INSTALLED.is_dir():
        pytest.skip("no simulator of IAM: install Node.js with npm, then run `make setup`")
