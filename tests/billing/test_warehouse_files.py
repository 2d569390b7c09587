"""Local files of a warehouse, on a directory and on S3 (moto's)."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from registry.errors import NotFoundError, RegistryError
from serving.warehouse.files import Entry, Warehouse, default_cache, open_warehouse


@pytest.fixture(params=["directory", "s3"])
def warehouse(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Warehouse]:
    if request.param == "directory":
        (tmp_path / "warehouse").mkdir()
        yield open_warehouse(f"file://{tmp_path}/warehouse", tmp_path / "cache")
        return
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield open_warehouse("s3://bucket/warehouse", tmp_path / "cache")


def test_files_have_the_content_of_their_objects(warehouse: Warehouse) -> None:
    warehouse.store.put("events/day=2026-11-03/b.parquet", b"two")
    warehouse.store.put("events/day=2026-11-03/a.parquet", b"one")
    warehouse.store.put("events/day=2026-11-04/c.parquet", b"three")
    entries = warehouse.entries("events/day=2026-11-03/")
    assert [entry.key.rpartition("/")[2] for entry in entries] == ["a.parquet", "b.parquet"]
    assert [path.read_bytes() for path in warehouse.files(entries)] == [b"one", b"two"]


def test_a_changed_object_is_read_again(warehouse: Warehouse) -> None:
    warehouse.store.put("pods/day=2026-11-03/cluster.json", b"before")
    warehouse.files(warehouse.entries("pods/"))
    warehouse.store.put("pods/day=2026-11-03/cluster.json", b"after")
    [path] = warehouse.files(warehouse.entries("pods/"))
    assert path.read_bytes() == b"after"


def test_what_was_created_stays(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "second").write_bytes(b"second")
    warehouse.create("parts/day=2026-11-03/x.json", b"first")
    warehouse.create("parts/day=2026-11-03/x.json", b"second")
    warehouse.create("parts/day=2026-11-03/x.json", tmp_path / "second")
    assert warehouse.store.get("parts/day=2026-11-03/x.json").data == b"first"


def test_an_unchanged_s3_object_is_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        warehouse = open_warehouse("s3://bucket", tmp_path)
        warehouse.store.put("events/a.parquet", b"one")
        entries = warehouse.entries("events/")
        [copy] = warehouse.files(entries)
        client.delete_object(Bucket="bucket", Key="events/a.parquet")
        assert warehouse.files(entries) == [copy]
        assert copy.read_bytes() == b"one"


def test_an_object_that_went_away_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        warehouse = open_warehouse("s3://bucket", tmp_path)
        with pytest.raises(NotFoundError, match=r"events/gone\.parquet"):
            warehouse.files([Entry("events/gone.parquet", "etag")])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_directory_that_is_not_there_is_no_empty_warehouse(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no such directory"):
        open_warehouse(f"file://{tmp_path}/typo")
    assert not (tmp_path / "typo").exists()


def test_copies_go_where_the_platform_keeps_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache().is_relative_to(tmp_path)
