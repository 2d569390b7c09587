"""The lock of Helm charts (`charts.lock.yaml`): which there are, and the hash of each archive."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from stacks.config.base import Config, Digest
from stacks.paths import ROOT

LOCK: Final = ROOT / "stacks" / "charts.lock.yaml"
ARCHIVES: Final = ROOT / ".charts"
"""Where `pipeline charts fetch` puts the archives that the lock names."""

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,52}$")]


class LockedChart(Config):
    """One chart."""

    chart: Annotated[
        str,
        StringConstraints(pattern=r"^(oci://[a-z0-9.-]+(/[a-z0-9._-]+)+|[a-z0-9-]+|https://\S+)$"),
    ] = Field(description="name in its repository, an oci:// address, or one of a manifest")
    repository: Annotated[str, StringConstraints(pattern=r"^https://\S+[^/]$")] | None = Field(
        None, description="address of the repository; none with oci://"
    )
    version: Annotated[str, StringConstraints(pattern=r"^v?\d+\.\d+\.\d+([+-][0-9A-Za-z.-]+)?$")]
    digest: Digest | None = Field(description="of the archive; null until it is resolved")
    kind: Literal["release", "chart", "manifest"] = Field(
        description="installed by Helm, rendered, or a file of objects (no chart)"
    )
    reason: str = Field(min_length=10, description="why it is of that kind")
    source: str = Field(min_length=10, description="where name and version were read")

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        has_scheme = "://" in self.chart
        if has_scheme == (self.repository is not None):
            raise ValueError("give a chart of a repository its address, and any other none")
        if self.chart.startswith("https://") != (self.kind == "manifest"):
            raise ValueError("a manifest has an https:// address, and a chart has none")
        return self

    @property
    def archive(self) -> str:
        """Name of the file that holds it."""
        name = self.chart.rpartition("/")[2]
        if self.kind == "manifest":
            return f"{self.version}-{name}"
        return f"{name}-{self.version}.tgz"


class _Lock(Config):
    charts: dict[_Name, LockedChart]


def read_lock(path: Path = LOCK) -> Mapping[str, LockedChart]:
    """Every chart of the lock by its name.

    Raises:
        ValueError: The file is no lock; names the place.
    """
    try:
        return _Lock.model_validate(yaml.safe_load(path.read_text())).charts
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path}: {error}") from error


def locked(name: str, charts: Mapping[str, LockedChart]) -> LockedChart:
    """The chart of a name.

    Raises:
        ValueError: The lock has no such chart.
    """
    if name not in charts:
        raise ValueError(
            f"chart {name!r} is not in {LOCK.relative_to(ROOT)} (there: {', '.join(charts)}): add "
            "it with version and kind, then run `pipeline charts lock`"
        )
    return charts[name]


def require_digests(names: Iterable[str], charts: Mapping[str, LockedChart]) -> None:
    """Check that each chart is pinned by what it is, not only by its version.

    Raises:
        ValueError: One is not.
    """
    open_ = sorted(name for name in names if locked(name, charts).digest is None)
    if open_:
        raise ValueError(
            f"{LOCK.relative_to(ROOT)}: {', '.join(open_)}: no digest, which production needs; run "
            "`pipeline charts lock` on a machine with internet and commit the file"
        )


def archive_of(chart: LockedChart, directory: Path = ARCHIVES) -> Path | None:
    """The archive of a chart on this machine; None for one without a digest.

    Raises:
        ValueError: It is missing, or another one than the lock says.
    """
    if chart.digest is None:
        return None
    path = directory / chart.archive
    if not path.exists():
        raise ValueError(f"{path} is missing: run `pipeline charts fetch`")
    check_digest(chart, path.read_bytes(), str(path))
    return path


def check_digest(chart: LockedChart, archive: bytes, place: str) -> None:
    """Check an archive against the lock.

    Raises:
        ValueError: It is another one.
    """
    found = digest_of(archive)
    if found != chart.digest:
        raise ValueError(
            f"{place}: is {found}, the lock says {chart.digest}: the version was published again; "
            "find out why before you change the lock"
        )


def digest_of(archive: bytes) -> str:
    """Digest of an archive, as the lock writes it."""
    return f"sha256:{hashlib.sha256(archive).hexdigest()}"


def with_digests(text: str, digests: Mapping[str, str]) -> str:
    """The text of a lock with digests in place of null; comments stay.

    Raises:
        ValueError: A chart's digest is not null.
    """
    lines = text.splitlines(keepends=True)
    name: Any = None
    missing = dict(digests)
    for number, line in enumerate(lines):
        if line.startswith("  ") and not line.startswith("   ") and line.rstrip().endswith(":"):
            name = line.strip().removesuffix(":")
        if name in missing and line.strip() == "digest: null":
            lines[number] = line.replace("null", missing.pop(name))
    if missing:
        raise ValueError(f"the lock has no `digest: null` for {', '.join(sorted(missing))}")
    return "".join(lines)
