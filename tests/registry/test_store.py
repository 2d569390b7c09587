"""Both stores keep the same promises. S3 is moto's, which enforces conditional writes."""

import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto import mock_aws

from benchmarks.processes import free_port
from registry.directory_store import DirectoryStore
from registry.errors import NotFoundError, PreconditionFailedError, RegistryError, StoreError
from registry.s3_store import S3Store
from registry.store import ObjectStore, open_store


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "directory":
        yield DirectoryStore(tmp_path / "registry")
        return
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="registry")
        yield S3Store("registry", "prefix", client)


def test_an_object_comes_back_as_it_was_put(store: ObjectStore) -> None:
    etag = store.put("runs/a/b/status.json", b"one")
    read = store.get("runs/a/b/status.json")
    assert (read.data, read.etag) == (b"one", etag)


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    with pytest.raises(NotFoundError, match="runs/a/none"):
        store.get("runs/a/none")


def test_create_only_writes_once(store: ObjectStore) -> None:
    store.put("approvals/a/v1.0/x.json", b"first", if_none_match=True)
    with pytest.raises(PreconditionFailedError):
        store.put("approvals/a/v1.0/x.json", b"second", if_none_match=True)
    assert store.get("approvals/a/v1.0/x.json").data == b"first"


def test_compare_and_swap_refuses_a_stale_etag(store: ObjectStore) -> None:
    stale = store.put("lora-adapters/a/latest", b"one")
    store.put("lora-adapters/a/latest", b"two", if_match=stale)
    with pytest.raises(PreconditionFailedError):
        store.put("lora-adapters/a/latest", b"three", if_match=stale)
    assert store.get("lora-adapters/a/latest").data == b"two"


def test_compare_and_swap_refuses_a_missing_object(store: ObjectStore) -> None:
    with pytest.raises(PreconditionFailedError):
        store.put("lora-adapters/a/latest", b"one", if_match='"0"')


@pytest.mark.parametrize(
    "key",
    [
        "lora-adapters/a/v1.0/slm/adapter_model.safetensors",
        "lora-adapters/a/v1.0/manifest.json",
        "lora-adapters/a/v1.0/evaluation.json",
        "approvals/a/v1.0/x.json",
        "runs/a/train-slm-0/result.json",
        "closed/2026-11.json",
        "closed-heads/2026-11.json",
        "notes/2026-11/2026-11-0001.json",
    ],
)
def test_immutable_keys_take_create_only_writes(store: ObjectStore, key: str) -> None:
    with pytest.raises(RegistryError, match="immutable"):
        store.put(key, b"data")
    with pytest.raises(NotFoundError):
        store.get(key)


def test_files_go_in_and_out_whole(store: ObjectStore, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(bytes(range(256)) * 1000)
    store.put_file("runs/a/b/adapter/x", source)
    store.get_to_file("runs/a/b/adapter/x", target)
    assert target.read_bytes() == source.read_bytes()


def test_lists_are_sorted_and_below_the_prefix(store: ObjectStore) -> None:
    for key in ("runs/b/1", "runs/a/2", "runs/a/1", "runsx/a/1"):
        store.put(key, b"")
    assert store.list("runs/") == ["runs/a/1", "runs/a/2", "runs/b/1"]
    assert store.list("runs/a/1") == ["runs/a/1"]
    assert store.list("nothing/") == []


def test_a_mark_changes_when_its_object_does(store: ObjectStore) -> None:
    store.put("runs/a/1", b"one")
    store.put("runs/b/1", b"one")
    before = store.marks("runs/")
    store.put("runs/a/1", b"two")
    after = store.marks("runs/")
    assert list(after) == ["runs/a/1", "runs/b/1"]
    assert after["runs/a/1"] != before["runs/a/1"]
    assert after["runs/b/1"] == before["runs/b/1"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../b", "a//b", ".lock", "a/.tmp", "a b"])
def test_keys_cannot_leave_the_store(store: ObjectStore, key: str) -> None:
    with pytest.raises(RegistryError, match="cannot be a registry key"):
        store.put(key, b"")


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    start = store.put("lora-adapters/a/latest", b"start")
    won: list[int] = []

    def swap(number: int) -> None:
        try:
            store.put("lora-adapters/a/latest", str(number).encode(), if_match=start)
        except PreconditionFailedError:
            return
        won.append(number)

    threads = [threading.Thread(target=swap, args=(number,)) for number in range(16)]
    _all(threads, threading.Thread.start)
    _all(threads, threading.Thread.join)
    assert len(won) == 1
    assert store.get("lora-adapters/a/latest").data == str(won[0]).encode()


def _calls(store: ObjectStore, path: Path) -> list[Callable[[], object]]:
    return [
        lambda: store.get("runs/a/b/status.json"),
        lambda: store.get_to_file("runs/a/b/status.json", path),
        lambda: store.put("runs/a/b/status.json", b"{}"),
        lambda: store.list("runs/"),
    ]


def test_what_s3_refuses_is_an_error_of_the_store(tmp_path: Path) -> None:
    client = boto3.client("s3", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")

    def refuse(**_: object) -> tuple[AWSResponse, dict[str, object]]:
        answer = AWSResponse("https://registry", HTTPStatus.FORBIDDEN, {}, None)
        return answer, {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}

    client.meta.events.register("before-call.s3", refuse)
    for call in _calls(S3Store("registry", "prefix", client), tmp_path / "status.json"):
        with pytest.raises(StoreError, match=r"s3://registry/prefix/runs/.*AccessDenied|Forbidden"):
            call()


def test_s3_that_does_not_answer_is_an_error_of_the_store(tmp_path: Path) -> None:
    client = boto3.client(
        "s3",
        "us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        endpoint_url=f"http://127.0.0.1:{free_port()}",
        config=Config(retries={"total_max_attempts": 1}),
    )
    for call in _calls(S3Store("registry", "prefix", client), tmp_path / "status.json"):
        with pytest.raises(StoreError, match=r"s3://registry/prefix/runs/.*Could not connect"):
            call()


@pytest.mark.parametrize("uri", ["registry", "file://host/x", "file://", "http://x/y", "s3:///x"])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(RegistryError, match="use file:///absolute/directory or s3://bucket/prefix"):
        open_store(uri)


def _all(threads: list[threading.Thread], method: Callable[[threading.Thread], None]) -> None:
    for thread in threads:
        method(thread)
