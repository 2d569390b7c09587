"""An AWS account in moto, in this process, and what moto has no place for."""

import contextlib
import logging
import os
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from benchmarks.processes import free_port
from tests.engine.aws.values import Plain

_RESET_S = 60
_KEYS: dict[str, Any] = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


class AwsError(Exception):
    """AWS's answer where moto has none."""


class Account:
    """One account and region."""

    def __init__(self, url: str, *, number: str, region: str) -> None:
        self.url = url
        self.number = number
        self.region = region
        self.memory: dict[str, dict[str, Plain]] = defaultdict(dict)
        """Properties of resources by kind and id, of the kinds that moto lacks."""
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """A boto3 client of the account."""
        # Making clients is not thread-safe, using them is.
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource in the account's region."""
        return f"arn:aws:{service}:{self.region}:{self.number}:{resource}"

    def _make(self, service: str) -> Any:
        # Path style, because the names of buckets do not resolve on this machine.
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        make: Any = boto3.client
        client = make(
            service, endpoint_url=self.url, region_name=self.region, config=config, **_KEYS
        )
        client.meta.events.register("before-sign", self._mark)
        return client

    def _mark(self, request: Any, **_: Any) -> None:
        request.headers["x-moto-account-id"] = self.number


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """A moto server without anything in it; gives its address."""
    # It would write a line for every request, and know no policy of AWS.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        # Its backends are this process's, and whoever ran before has left something.
        request = urllib.request.Request(f"{url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=_RESET_S).close()
        yield url
    finally:
        server.stop()


def missing(error: ClientError) -> bool:
    """Whether AWS says that there is no such thing."""
    code = error.response["Error"]["Code"]
    return "NotFound" in code or code.startswith("NoSuch") or code == "404"
