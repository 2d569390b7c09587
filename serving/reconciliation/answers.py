"""What trace stores answer, and what is said when it is something else."""

from collections.abc import Callable
from typing import Any, TypeVar

import requests

from serving.reconciliation.errors import ReconciliationError

_Read = TypeVar("_Read")


def ask(
    send: Callable[[], requests.Response], read: Callable[[Any], _Read], *, url: str, expected: str
) -> _Read:
    """Send a request and read the JSON of its answer.

    Args:
        send: Sends the request.
        read: Makes a value of the JSON.
        url: Where it goes; errors name it.
        expected: Whose answers `read` knows, such as `Langfuse 4`.

    Raises:
        ReconciliationError: There is no answer, or not one as documented.
    """
    try:
        response = send()
        response.raise_for_status()
        return read(response.json())
    except requests.RequestException as error:
        raise ReconciliationError(f"{url}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReconciliationError(
            f"{url}: not an answer as {expected} documents it: {type(error).__name__}: {error}"
        ) from error
