"""A verdict counts only with the signature of its own key over its own content."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.errors import RegistryError
from registry.evaluation import (
    CheckResult,
    Evaluation,
    create_key_pair,
    sign,
    verify,
    write_evaluation,
)
from registry.names import Version
from registry.store import open_store


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    create_key_pair(tmp_path / "k", tmp_path / "k.pub")
    return tmp_path / "k", tmp_path / "k.pub"


@pytest.fixture
def verdict() -> Evaluation:
    check = CheckResult(name="domain_test", status="failed", score=0.1, reason="too low")
    return Evaluation(
        domain="bank-ledger",
        version=Version(1, 0),
        bundle_digest="sha256:b",
        checks=(check,),
        gate_digest="sha256:g",
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
    )


def test_a_signed_verdict_verifies(keys: tuple[Path, Path], verdict: Evaluation) -> None:
    signed = sign(verdict, keys[0])
    verify(signed, keys[1])
    assert signed.signature
    assert not signed.passed


def test_a_changed_verdict_does_not(keys: tuple[Path, Path], verdict: Evaluation) -> None:
    signed = sign(verdict, keys[0])
    better = signed.model_copy(
        update={"checks": (CheckResult(name="domain_test", status="passed"),)}
    )
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(better, keys[1])


def test_nor_does_a_verdict_of_another_bundle(keys: tuple[Path, Path], verdict: Evaluation) -> None:
    moved = sign(verdict, keys[0]).model_copy(update={"bundle_digest": "sha256:c"})
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(moved, keys[1])


def test_nor_does_another_key(keys: tuple[Path, Path], verdict: Evaluation, tmp_path: Path) -> None:
    create_key_pair(tmp_path / "other", tmp_path / "other.pub")
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(sign(verdict, tmp_path / "other"), keys[1])


def test_an_unsigned_verdict_is_not_stored(verdict: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is not signed"):
        write_evaluation(open_store(f"file://{tmp_path}/r"), verdict)


def test_the_first_verdict_stands(
    keys: tuple[Path, Path], verdict: Evaluation, tmp_path: Path
) -> None:
    store = open_store(f"file://{tmp_path}/r")
    first = write_evaluation(store, sign(verdict, keys[0]))
    second = verdict.model_copy(update={"checks": (CheckResult(name="x", status="passed"),)})
    assert write_evaluation(store, sign(second, keys[0])) == first


def test_the_private_key_is_for_its_owner_only(keys: tuple[Path, Path]) -> None:
    assert keys[0].stat().st_mode & 0o077 == 0
