"""What jobs fetch before they start: from a directory, and from S3 (moto's)."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from registry import fetch as fetching
from registry.errors import NotFoundError, RegistryError
from registry.fetch import fetch

Put = Callable[[str, bytes], object]


@pytest.fixture(params=["directory", "s3"])
def bucket(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Put]]:
    """URI of a place, and what puts objects there as other programs would."""
    if request.param == "directory":
        root = tmp_path / "bucket"

        def write(key: str, data: bytes) -> None:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(data)

        yield f"file://{root}", write
        return
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield (
            "s3://bucket",
            lambda key, data: client.put_object(Bucket="bucket", Key=key, Body=data),
        )


def test_an_object_becomes_a_file(bucket: tuple[str, Put], tmp_path: Path) -> None:
    uri, put = bucket
    put("bank-ledger/pairs.jsonl", b"{}\n")
    target = tmp_path / "work" / "inputs" / "pairs.jsonl"
    assert fetch(f"{uri}/bank-ledger/pairs.jsonl", target) == 1
    assert target.read_bytes() == b"{}\n"


def test_everything_below_a_prefix_becomes_a_directory(
    bucket: tuple[str, Put], tmp_path: Path
) -> None:
    uri, put = bucket
    put("llama-8b/config.json", b"config")
    put("llama-8b/shards/model-1.safetensors", b"weights")
    put("llama-8b-instruct/config.json", b"another model, whose name begins alike")
    assert fetch(f"{uri}/llama-8b/", tmp_path / "base") == 2
    found = {p.relative_to(tmp_path / "base"): p.read_bytes() for p in _files(tmp_path / "base")}
    assert found == {
        Path("config.json"): b"config",
        Path("shards/model-1.safetensors"): b"weights",
    }


def test_hidden_files_of_a_model_stay_where_they_are(
    bucket: tuple[str, Put], tmp_path: Path
) -> None:
    uri, put = bucket
    put("llama-8b/config.json", b"config")
    put("llama-8b/.gitattributes", b"*.safetensors filter=lfs")
    put("llama-8b/.cache/x", b"")
    assert fetch(f"{uri}/llama-8b/", tmp_path / "base") == 1
    assert [path.name for path in _files(tmp_path / "base")] == ["config.json"]


def test_a_folder_that_the_console_made_is_no_file(tmp_path: Path) -> None:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        for key in ("llama-8b/", "llama-8b/shards/", "llama-8b/config.json"):
            client.put_object(Bucket="bucket", Key=key, Body=b"")
        assert fetch("s3://bucket/llama-8b/", tmp_path / "base") == 1


def test_a_folder_with_nothing_in_it_is_refused(bucket: tuple[str, Put], tmp_path: Path) -> None:
    uri, put = bucket
    put("other/config.json", b"config")
    with pytest.raises(NotFoundError, match="nothing below this prefix"):
        fetch(f"{uri}/llama-8b/", tmp_path / "base")
    with pytest.raises(NotFoundError, match=r"no object|config\.json"):
        fetch(f"{uri}/llama-8b/config.json", tmp_path / "config.json")
    assert not (tmp_path / "config.json").exists()


def test_a_uri_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="file:///absolute/directory or s3://bucket/prefix"):
        fetch("https://example.com/pairs.jsonl", tmp_path / "pairs.jsonl")


def test_the_command_brings_all_and_says_what_is_missing(
    bucket: tuple[str, Put],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri, put = bucket
    put("a/one=1.jsonl", b"one")
    there, absent = f"{uri}/a/one=1.jsonl", f"{uri}/a/two.jsonl"

    def run(*pairs: str) -> int:
        monkeypatch.setattr(sys, "argv", ["fetch", *pairs])
        return fetching.main()

    assert run(f"{there}={tmp_path}/one.jsonl") == 0
    assert (tmp_path / "one.jsonl").read_bytes() == b"one"
    assert run(f"{there}={tmp_path}/again.jsonl", f"{absent}={tmp_path}/two.jsonl") == 1
    assert f"{absent}: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(f"{there}=relative.jsonl")
    assert "URI=/absolute/path" in capsys.readouterr().err


def test_what_s3_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(sys, "argv", ["fetch", f"s3://no-such-bucket/a/b={tmp_path}/b"])
    with mock_aws():
        assert fetching.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("s3://no-such-bucket/a/b: ")
    assert "s3://no-such-bucket/a/b" in line.removeprefix("s3://no-such-bucket/a/b: ")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
