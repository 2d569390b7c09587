"""Refusals, and the body in which OpenAI clients expect them."""

from dataclasses import dataclass, field
from typing import Any, Final

from registry.names import PoolName

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request is not served."""

    status: int
    code: str
    """Stable word for programs, such as `model_not_found`."""
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    coming: PoolName | None = None
    """The pool where what is missing may still come; None where waiting does not help."""

    def body(self) -> dict[str, Any]:
        """The error object of the OpenAI API."""
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, "api_error"),
                "param": self.param,
                "code": self.code,
            }
        }


class RefusedError(Exception):
    """Carries a refusal out of the steps of an admission."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
