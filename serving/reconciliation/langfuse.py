"""Requests and tokens of customers, from Langfuse's metrics (`GET /api/public/v2/metrics`).

`userId` cannot be a dimension there, so there is one query for each customer, with its tag as the
filter, and one without, for traces that have no customer's tag. Written after the documentation of
Langfuse 4; no Langfuse was run against this.
"""

import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import requests

from serving.reconciliation.amounts import Amounts
from serving.reconciliation.answers import ask
from serving.reconciliation.config import LangfuseTraces
from serving.reconciliation.errors import ReconciliationError
from serving.tracing.trace import SPAN_NAME, customer_tag

_TIMEOUT_S: Final = 60
_ROW_LIMIT: Final = 1000
_METRICS: Final = (("count", "count"), ("inputTokens", "sum"), ("outputTokens", "sum"))


class Langfuse:
    """The traces of one environment."""

    def __init__(self, config: LangfuseTraces, environ: Mapping[str, str] = os.environ) -> None:
        """Take the keys from the configured file, or from the environment.

        Raises:
            ReconciliationError: There are none.
        """
        self._config = config
        self._session = requests.Session()
        self._session.auth = _keys(config.credentials, environ)

    def traced(
        self, customers: Iterable[str], began: dt.datetime, ended: dt.datetime
    ) -> dict[str | None, Amounts]:
        """Requests that began in an interval, by customer; None: of nobody.

        Raises:
            ReconciliationError: Langfuse does not answer, or not as documented.
        """
        found: dict[str | None, Amounts] = {
            customer: self._query(began, ended, customer) for customer in customers
        }
        rest = self._query(began, ended, None)
        for amounts in found.values():
            rest -= amounts
        return found | {None: rest}

    def _query(self, began: dt.datetime, ended: dt.datetime, customer: str | None) -> Amounts:
        query = {
            "view": "observations",
            "dimensions": [],
            "metrics": [{"measure": name, "aggregation": how} for name, how in _METRICS],
            "filters": list(self._filters(customer)),
            "fromTimestamp": _stamp(began),
            "toTimestamp": _stamp(ended),
            "config": {"row_limit": _ROW_LIMIT},
        }
        url = f"{self._config.url}/api/public/v2/metrics"
        return ask(
            lambda: self._session.get(url, params={"query": json.dumps(query)}, timeout=_TIMEOUT_S),
            _amounts,
            url=url,
            expected="Langfuse 4",
        )

    def _filters(self, customer: str | None) -> Iterable[dict[str, Any]]:
        equal = {
            "type": "GENERATION",
            "traceName": SPAN_NAME,
            "environment": self._config.environment,
        }
        for column, value in equal.items():
            yield {"column": column, "operator": "=", "value": value, "type": "string"}
        if customer is not None:
            yield {
                "column": "tags",
                "operator": "any of",
                "value": [customer_tag(customer)],
                "type": "arrayOptions",
            }


def _amounts(body: dict[str, Any]) -> Amounts:
    """Without dimensions there is one row; no row, or null, where nothing matches."""
    rows = body["data"]
    if len(rows) > 1:
        raise ValueError(f"{len(rows)} rows where one was asked for")
    numbers = [int((rows[0] if rows else {}).get(f"{how}_{name}") or 0) for name, how in _METRICS]
    return Amounts(*numbers)


def _keys(path: Path | None, environ: Mapping[str, str]) -> tuple[str, str]:
    if path is None:
        public, secret = environ.get("LANGFUSE_PUBLIC_KEY"), environ.get("LANGFUSE_SECRET_KEY")
        if not public or not secret:
            raise ReconciliationError(
                "traces.credentials is not set, and neither are both of LANGFUSE_PUBLIC_KEY and "
                "LANGFUSE_SECRET_KEY"
            )
        return public, secret
    try:
        public, separator, secret = path.read_text().strip().partition(":")
    except OSError as error:
        raise ReconciliationError(f"traces.credentials {path}: {error.strerror}") from error
    if not separator or not public or not secret:
        raise ReconciliationError(
            f"traces.credentials {path}: not of the form <public key>:<secret key>"
        )
    return public, secret


def _stamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
