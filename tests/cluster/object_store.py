"""An S3 for the pods of the node: moto, which keeps create-only writes and compare-and-swap.

Unlike S3 it checks no credentials and keeps everything in the memory of this process.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence

import boto3
from moto.server import ThreadedMotoServer

from benchmarks.processes import free_port

REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextlib.contextmanager
def object_store(address: str, buckets: Sequence[str]) -> Iterator[str]:
    """Run a store until the block ends; gives its URL.

    Args:
        address: An address of this machine that pods reach.
        buckets: What it has.
    """
    # It would write a line for every request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(address, free_port(), verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    try:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        yield url
    finally:
        server.stop()


def environment(url: str) -> dict[str, str]:
    """Variables by which a program of this machine finds the store."""
    return {
        **CREDENTIALS,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": url,
    }
