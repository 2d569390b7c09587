"""Requests and tokens of customers, from MLflow's trace metrics.

`POST /api/3.0/mlflow/traces/metrics` (MLflow 3.17, `mlflow.server.handlers._query_trace_metrics`)
adds up on the server: one number for each customer and measure, no traces to page through. Times
are whole milliseconds there, both ends included.
"""

import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import requests

from serving.reconciliation.amounts import Amounts
from serving.reconciliation.answers import ask
from serving.reconciliation.config import MlflowTraces
from serving.reconciliation.errors import ReconciliationError
from serving.tracing.trace import SPAN_NAME, label

_TIMEOUT_S: Final = 60
_METRICS: Final = (("trace_count", "COUNT"), ("input_tokens", "SUM"), ("output_tokens", "SUM"))
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_QUOTES: Final = frozenset("'\"`\\")
_Read = TypeVar("_Read")


class Mlflow:
    """The traces of one experiment."""

    def __init__(self, config: MlflowTraces, environ: Mapping[str, str] = os.environ) -> None:
        """Take user and password from the environment, where MLflow's own client looks.

        Nothing is asked yet.
        """
        self._config = config
        self._session = requests.Session()
        user = environ.get("MLFLOW_TRACKING_USERNAME")
        if user:
            self._session.auth = user, environ.get("MLFLOW_TRACKING_PASSWORD", "")

    def traced(
        self, customers: Iterable[str], began: dt.datetime, ended: dt.datetime
    ) -> dict[str | None, Amounts]:
        """Requests that began in an interval, by customer; None: of nobody.

        Raises:
            ReconciliationError: MLflow does not answer, or not as documented, or has no such
                experiment.
        """
        experiment = self._experiment()
        times = {
            "start_time_ms": (began - _EPOCH) // _MILLISECOND,
            "end_time_ms": (ended - _EPOCH) // _MILLISECOND - 1,
        }
        found: dict[str | None, Amounts] = {
            customer: self._amounts(experiment, times, customer) for customer in customers
        }
        rest = self._amounts(experiment, times, None)
        for amounts in found.values():
            rest -= amounts
        return found | {None: rest}

    def _amounts(self, experiment: str, times: dict[str, int], customer: str | None) -> Amounts:
        filters = [_filter("mlflow.traceName", SPAN_NAME)]
        if customer is not None:
            filters.append(_filter("customer", label(customer)))
        values = []
        for name, how in _METRICS:
            body = {
                "experiment_ids": [experiment],
                "view_type": "TRACES",
                "metric_name": name,
                "aggregations": [{"aggregation_type": how}],
                "filters": filters,
                **times,
            }
            values.append(
                self._call(
                    "POST", "/api/3.0/mlflow/traces/metrics", partial(_total, how=how), json=body
                )
            )
        return Amounts(*values)

    def _experiment(self) -> str:
        name = self._config.experiment
        return self._call(
            "GET",
            "/api/2.0/mlflow/experiments/get-by-name",
            lambda body: str(body["experiment"]["experiment_id"]),
            params={"experiment_name": name},
        )

    def _call(self, method: str, path: str, read: Callable[[Any], _Read], **options: Any) -> _Read:
        url = self._config.url + path
        return ask(
            lambda: self._session.request(method, url, timeout=_TIMEOUT_S, **options),
            read,
            url=url,
            expected="MLflow 3.17",
        )


def _total(body: dict[str, Any], *, how: str) -> int:
    """Without dimensions there is one point, or none where nothing matches."""
    return sum(round(point["values"][how]) for point in body.get("data_points", []))


def _filter(tag: str, value: str) -> str:
    if set(value) & _QUOTES:
        raise ReconciliationError(
            f"customer {value!r}: MLflow cannot be asked for a name with quotes or backslashes"
        )
    return f"trace.tag.`{tag}` = '{value}'"
