"""Reading versions, and what counts as a good program on PATH."""

from pathlib import Path

import pytest

from tools.setup.versions import find_program, go_directive, is_good, parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v3.259.0\n", (3, 259, 0)),
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.26 linux/amd64", (1, 26, 0)),
        ("v3.260.1-alpha.1742", (3, 260, 1)),
        ("no version here", None),
    ],
)
def test_parse_version(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("found", "good"),
    [((3, 259, 0), True), ((3, 300, 1), True), ((3, 258, 9), False), ((4, 0, 0), False)],
)
def test_only_the_same_major_and_not_older_is_good(
    found: tuple[int, int, int], *, good: bool
) -> None:
    assert is_good(found, (3, 259, 0)) is good


def test_go_directive() -> None:
    assert go_directive("module m\n\ngo 1.26.0\n\nrequire x v1.2.3\n") == (1, 26, 0)
    with pytest.raises(ValueError, match=r"no `go X\.Y` line"):
        go_directive("module m\n")


def _program(folder: Path, body: str) -> None:
    folder.mkdir()
    path = folder / "thing"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_good_program_on_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "bin", "echo thing v2.5.1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = find_program("thing", ("version",), (2, 4, 0), tmp_path / "own")
    assert found is not None
    assert found.path == tmp_path / "bin" / "thing"
    assert found.version == (2, 5, 1)


@pytest.mark.parametrize("body", ["echo thing v1.9.0", "exit 1", "echo hello"])
def test_an_old_or_broken_program_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    _program(tmp_path / "bin", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert find_program("thing", ("version",), (2, 4, 0), tmp_path / "own") is None


def test_what_set_up_made_itself_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "own", "echo thing v2.5.1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'own'}:/usr/bin:/bin")
    assert find_program("thing", ("version",), (2, 4, 0), tmp_path / "own") is None
