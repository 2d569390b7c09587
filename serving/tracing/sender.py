"""Sends encoded traces to their receiver, with retries that end.

The exporter of the OpenTelemetry SDK does not say whether a batch was refused or nobody was there,
and takes a redirect for success; this one says, and follows none.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final, Literal

import requests
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from serving.tracing.config import LangfuseTarget, MlflowTarget, Target, TracingConfig
from serving.tracing.mlflow_experiment import experiment_id

_log = logging.getLogger(__name__)

Outcome = Literal["sent", "refused", "unreachable"]

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
# The protocol's list: with any other status, sending again would not help.
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
_PROTOBUF: Final = "application/x-protobuf"


@dataclass(frozen=True)
class Delivery:
    """What became of one request."""

    outcome: Outcome
    rejected: int = 0
    """Spans that the receiver left out of what it took."""
    wait_s: float = 0
    """How long the receiver wants to be left alone."""


class Sender:
    """One receiver.

    Reads the credentials when it is made, and raises SettingsError where they are missing.
    """

    def __init__(self, config: TracingConfig, closing: threading.Event) -> None:
        self._target = config.target
        self._timeout_s = config.timeout_s
        self._retry_for_s = config.retry_for_s
        self._closing = closing
        self._url = _url(config.target)
        self._session = requests.Session()
        self._session.headers["Content-Type"] = _PROTOBUF
        self._experiment_known = False
        self._credentials = _credentials(config.target)
        self._session.auth = self._credentials
        if isinstance(config.target, LangfuseTarget):
            self._session.headers["x-langfuse-ingestion-version"] = "4"

    def send(self, body: bytes) -> Delivery:
        """Send one request until it is taken, refused, or has been tried for long enough.

        Once the router is closing it is tried once.
        """
        until = time.monotonic() + self._retry_for_s
        wait = _FIRST_WAIT_S
        while True:
            delivery = self._attempt(body)
            pause = min(max(wait, delivery.wait_s), _LONGEST_WAIT_S)
            if delivery.outcome != "unreachable" or time.monotonic() + pause > until:
                return delivery
            if self._closing.wait(pause):
                return delivery
            wait *= 2

    def _attempt(self, body: bytes) -> Delivery:
        try:
            self._look_up_experiment()
            response = self._session.post(
                self._url, data=body, timeout=self._timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            _log.warning("traces wait: %s", error)
            return Delivery("unreachable")
        if response.status_code in _TRY_AGAIN:
            _log.warning("traces wait: %s answered %d", self._url, response.status_code)
            wait_s = _seconds(response.headers.get("Retry-After", ""))
            return Delivery("unreachable", wait_s=wait_s)
        if not 200 <= response.status_code < 300:
            _log.warning("traces refused: %s answered %d", self._url, response.status_code)
            # An experiment may have been deleted: it is looked up again.
            self._experiment_known = False
            return Delivery("refused")
        return Delivery("sent", rejected=_rejected_spans(response))

    def _look_up_experiment(self) -> None:
        if not isinstance(self._target, MlflowTarget) or self._experiment_known:
            return
        identity = experiment_id(self._target.url, self._target.experiment, auth=self._credentials)
        self._session.headers["x-mlflow-experiment-id"] = identity
        self._experiment_known = True


def _credentials(target: Target) -> tuple[str, str] | None:
    if isinstance(target, LangfuseTarget):
        return target.public_key.read(), target.secret_key.read()
    if isinstance(target, MlflowTarget) and target.username and target.password:
        return target.username.read(), target.password.read()
    return None


def _url(target: Target) -> str:
    if isinstance(target, MlflowTarget):
        return f"{target.url}/v1/traces"
    if isinstance(target, LangfuseTarget):
        return f"{target.url}/api/public/otel/v1/traces"
    return target.endpoint


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else 0.0


def _rejected_spans(response: requests.Response) -> int:
    """Spans that the receiver left out of a request that it took."""
    if not response.headers.get("Content-Type", "").startswith(_PROTOBUF):
        return 0
    answer = ExportTraceServiceResponse()
    try:
        answer.ParseFromString(response.content)
    except DecodeError:
        return 0
    return max(0, int(answer.partial_success.rejected_spans))
