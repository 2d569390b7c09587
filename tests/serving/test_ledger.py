"""The ledger: what it promises after crashes, damage and full disks."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_records import EVENT, INTENT, V1_EVENT, V1_INTENT

from serving.ledger import Event, LedgerCorruptError, LedgerError, LedgerWriter, read_events
from serving.ledger.folder import is_written, ledger_id, segment_paths, starts
from serving.ledger.ids import admitted_at, new_request_id
from serving.ledger.records import DamagedRecordError, RecordError, decode, encode
from serving.ledger.segments import SegmentFile

text = st.text(max_size=40)
events = st.builds(
    replace,
    st.just(EVENT),
    request_id=text,
    customer=text,
    experiment=st.none() | text,
    input_tokens=st.none() | st.integers(0, 10**9),
    wasted_output_tokens=st.none() | st.integers(0, 10**9),
    latency_ms=st.floats(0, 1e9),
    error=st.none() | text,
)


@given(events)
def test_a_record_survives_its_line(event: Event) -> None:
    line = encode(event)
    assert line.count(b"\n") == 1
    assert decode(line[:-1]) == event
    assert json.loads(line)["schema"] == 2


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    line = bytearray(encode(EVENT)[:-1])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RecordError):
        decode(bytes(line))


def test_lines_of_schema_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "segment-0000000001.jsonl"
    path.write_bytes(V1_INTENT)
    (orphan,) = read_events(tmp_path).orphans
    assert (orphan.customer, orphan.experiment, orphan.schema) == ("customer-bank-A", None, 1)
    path.write_bytes(V1_INTENT + V1_EVENT)
    (event,), orphans = read_events(tmp_path)
    assert not orphans
    assert (event.latency_ms, event.server, event.attempts, event.schema) == (1100.0, None, 1, 1)
    assert (event.wasted_pool, event.wasted_output_tokens) == (None, 0)
    with pytest.raises(ValueError, match="schema 1 is only read"):
        encode(event)


def test_a_schema_has_its_own_fields() -> None:
    import zlib

    body = encode(EVENT)[:-1].replace(b'"schema":2', b'"schema":1').rpartition(b',"crc"')[0]
    with pytest.raises(RecordError, match="fields of an event"):
        decode(b'%b,"crc":"%08x"}' % (body, zlib.crc32(body)))


@given(st.integers(0, 253_402_300_799_999))
def test_an_id_carries_its_time(now_ms: int) -> None:
    request_id = new_request_id(now_ms)
    assert uuid.UUID(request_id).hex == request_id
    assert admitted_at(request_id).timestamp() == pytest.approx(now_ms / 1e3, abs=1e-4)
    assert new_request_id(now_ms) != request_id


@pytest.mark.parametrize(
    ("request_id", "said"),
    [
        ("r1", "32 lower-case hex digits"),
        ("5F0C2D9E8B1A4C3D9E7F60718293A4B5", "32 lower-case hex digits"),
        ("f" * 32, "after the year 9999"),
    ],
)
def test_what_is_no_id_is_refused(request_id: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        admitted_at(request_id)


@pytest.mark.parametrize("now_ms", [-1, 1 << 48])
def test_a_time_beyond_an_id_is_refused(now_ms: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        new_request_id(now_ms)


def test_a_ledger_keeps_its_identity(tmp_path: Path) -> None:
    for _ in range(2):
        SegmentFile(tmp_path / "a", max_bytes=1000).close()
    first = ledger_id(tmp_path / "a")
    SegmentFile(tmp_path / "a", max_bytes=1000).close()
    SegmentFile(tmp_path / "b", max_bytes=1000).close()
    assert first is not None
    assert ledger_id(tmp_path / "a") == first
    assert ledger_id(tmp_path / "b") not in (first, None)
    assert ledger_id(tmp_path / "c") is None
    assert starts(tmp_path / "a") == [1, 2, 3]


def test_an_unreadable_identity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger-id").write_text("half")
    with pytest.raises(LedgerError, match=r"ledger-id: 'half' is not the id of a ledger"):
        SegmentFile(tmp_path, max_bytes=1000)


def test_who_writes_is_known_without_disturbing_it(tmp_path: Path) -> None:
    assert not is_written(tmp_path)
    segment = SegmentFile(tmp_path, max_bytes=1000)
    assert is_written(tmp_path)
    assert is_written(tmp_path)
    segment.append(encode(EVENT))
    segment.close()
    assert not is_written(tmp_path)


def test_a_writer_does_not_stumble_over_whoever_looks(tmp_path: Path) -> None:
    SegmentFile(tmp_path, max_bytes=1000).close()
    looking = os.open(tmp_path / ".writer.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.03, os.close, [looking])
    timer.start()
    SegmentFile(tmp_path, max_bytes=1000).close()
    timer.join()


def test_a_newer_schema_is_not_taken_for_damage() -> None:
    import zlib

    body = encode(EVENT)[:-1].replace(b'"schema":2', b'"schema":3').rpartition(b',"crc"')[0]
    with pytest.raises(RecordError, match="schema 3") as caught:
        decode(b'%b,"crc":"%08x"}' % (body, zlib.crc32(body)))
    assert not isinstance(caught.value, DamagedRecordError)


@pytest.mark.parametrize("tail", [b"", b"\0" * 64, b"garbage\n", b"\n\n"])
def test_every_torn_tail_is_cut_and_kept(tmp_path: Path, tail: bytes) -> None:
    whole = encode(INTENT)
    torn = encode(EVENT)
    for cut in range(0, len(torn) - 1, 7):
        directory = tmp_path / f"{cut}-{len(tail)}"
        directory.mkdir()
        path = directory / "segment-0000000001.jsonl"
        path.write_bytes(whole + torn[:cut] + tail)
        assert read_events(directory) == ([], [INTENT])
        segment = SegmentFile(directory, max_bytes=1000)
        segment.append(torn)
        segment.close()
        assert segment.repaired_bytes == cut + len(tail)
        assert path.read_bytes() == whole
        if cut + len(tail):
            assert path.with_suffix(".torn").read_bytes() == torn[:cut] + tail
        assert read_events(directory) == ([EVENT], [])


def test_damage_in_the_middle_is_named_and_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "segment-0000000001.jsonl"
    lines = [encode(INTENT), encode(EVENT).replace(b"200", b"201"), encode(EVENT)]
    path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerCorruptError, match=r"segment-0000000001.jsonl: line 2 .*checksum"):
        read_events(tmp_path)
    SegmentFile(tmp_path, max_bytes=1000).close()
    assert path.read_bytes() == b"".join(lines)


def three_pages() -> tuple[list[Event], bytes]:
    """A batch of events that fills three pages of a file and more."""
    batch = [replace(EVENT, request_id=f"r{i}") for i in range(40)]
    data = b"".join(encode(event) for event in batch)
    assert len(data) > 3 * 4096
    return batch, data


def test_pages_that_a_power_cut_left_unwritten_lose_only_their_records(tmp_path: Path) -> None:
    batch, data = three_pages()
    path = tmp_path / "segment-0000000001.jsonl"
    holed = data[:4096] + b"\0" * 4096 + data[8192:]
    path.write_bytes(holed)
    with pytest.raises(LedgerCorruptError):
        read_events(tmp_path)
    segment = SegmentFile(tmp_path, max_bytes=1000)
    segment.close()
    found = read_events(tmp_path).events
    whole = [event for event in batch if encode(event) in holed]
    assert found == whole
    assert 20 < len(whole) < 40
    sound = data[:4096].rfind(b"\n") + 1
    assert path.with_suffix(".torn").read_bytes() == holed[sound:]
    assert segment.repaired_bytes == len(holed) - path.stat().st_size


def test_a_gap_beside_other_damage_is_named_and_never_cut(tmp_path: Path) -> None:
    _, data = three_pages()
    path = tmp_path / "segment-0000000001.jsonl"
    changed = data[:5000] + b"#" + data[5001:8192] + b"\0" * 4096 + data[12288:]
    path.write_bytes(changed)
    SegmentFile(tmp_path, max_bytes=1000).close()
    assert path.read_bytes() == changed
    line = data[:5000].count(b"\n") + 1
    with pytest.raises(LedgerCorruptError, match=f"line {line} is damaged"):
        read_events(tmp_path)


def test_duplicates_count_once(tmp_path: Path) -> None:
    second = replace(EVENT, output_tokens=999)
    lines = [encode(r) for r in (INTENT, INTENT, EVENT, second)]
    (tmp_path / "segment-0000000001.jsonl").write_bytes(b"".join(lines))
    assert read_events(tmp_path) == ([EVENT], [])


def test_a_directory_has_one_writer(tmp_path: Path) -> None:
    first = SegmentFile(tmp_path, max_bytes=1000)
    with pytest.raises(LedgerError, match="another process"):
        SegmentFile(tmp_path, max_bytes=1000)
    first.close()
    SegmentFile(tmp_path, max_bytes=1000).close()


def test_segments_roll_over(tmp_path: Path) -> None:
    segment = SegmentFile(tmp_path, max_bytes=len(encode(EVENT)))
    ids = [f"r{i}" for i in range(5)]
    for request_id in ids:
        segment.append(encode(replace(EVENT, request_id=request_id)))
    segment.close()
    assert len(segment_paths(tmp_path)) == 5
    assert [event.request_id for event in read_events(tmp_path).events] == ids


async def test_concurrent_records_share_a_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    writer = LedgerWriter(tmp_path, on_commit=lambda records, _: commits.append(records))
    real = os.fdatasync

    def slow(handle: int) -> None:
        time.sleep(0.05)
        real(handle)

    monkeypatch.setattr(os, "fdatasync", slow)
    await asyncio.gather(*(writer.append(replace(EVENT, request_id=f"r{i}")) for i in range(100)))
    assert len(read_events(tmp_path).events) == 100
    await writer.close()
    assert sum(commits) == 100
    assert len(commits) < 20


async def test_a_full_disk_fails_the_record_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LedgerWriter(tmp_path)
    real_write = os.write

    def full(fd: int, data: bytes) -> int:
        real_write(fd, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LedgerError, match="No space left"):
        await writer.append(INTENT)
    assert not writer.healthy
    monkeypatch.setattr(os, "write", real_write)
    await writer.append(EVENT)
    assert writer.healthy
    await writer.close()
    assert read_events(tmp_path) == ([EVENT], [])


async def test_a_closed_ledger_refuses(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path)
    await writer.close()
    with pytest.raises(LedgerError, match="closed"):
        await writer.append(EVENT)


_VICTIM = """
import asyncio, sys
from pathlib import Path
from dataclasses import replace
sys.path.insert(0, sys.argv[2])
from ledger_records import EVENT
from serving.ledger import LedgerWriter

async def main():
    writer = LedgerWriter(Path(sys.argv[1]), max_segment_bytes=4000)
    for i in range(1_000_000):
        await writer.append(replace(EVENT, request_id=f"r{i}"))
        print(i, flush=True)

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged = -1
    for _ in range(3):
        victim = subprocess.Popen(
            [sys.executable, "-c", _VICTIM, str(tmp_path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert victim.stdout is not None
        for line in victim.stdout:
            acknowledged = int(line)
            if acknowledged >= 40:
                os.kill(victim.pid, signal.SIGKILL)
                break
        acknowledged = max([acknowledged, *(int(line) for line in victim.stdout if line.strip())])
        victim.wait()
        found = {event.request_id for event in read_events(tmp_path).events}
        assert {f"r{i}" for i in range(acknowledged + 1)} <= found
