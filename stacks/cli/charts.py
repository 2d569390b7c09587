"""`pipeline charts`: resolve the lock of Helm charts, and fetch what it names."""

from collections.abc import Iterator

import httpx
import typer
from rich.console import Console

from stacks import charts_lock
from stacks.charts_download import TIMEOUT_S, DownloadError, download
from stacks.charts_lock import LockedChart, read_lock
from stacks.config.load import ConfigError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    charts = typer.Typer(no_args_is_help=True, help="Helm charts: lock them, fetch them.")
    charts.command()(lock)
    charts.command()(fetch)
    app.add_typer(charts, name="charts")


def lock() -> None:
    """Download every chart; write digests where the lock has none, check the others."""
    digests = {
        name: charts_lock.digest_of(archive)
        for name, chart, archive in _downloaded()
        if chart.digest is None
    }
    text = charts_lock.with_digests(charts_lock.LOCK.read_text(), digests)
    charts_lock.LOCK.write_text(text)
    for name, digest in digests.items():
        _say(f"{name}: {digest}")


def fetch() -> None:
    """Download the archives of every chart that has a digest, checked, for `up` and previews."""
    charts_lock.ARCHIVES.mkdir(exist_ok=True)
    unpinned = [name for name, chart in read_lock().items() if chart.digest is None]
    if unpinned:
        _say(f"not fetched, without a digest (`pipeline charts lock`): {', '.join(unpinned)}")
    for name, chart, archive in _downloaded(pinned_only=True):
        path = charts_lock.ARCHIVES / chart.archive
        path.write_bytes(archive)
        _say(f"{name}: {path}")


def _downloaded(*, pinned_only: bool = False) -> Iterator[tuple[str, LockedChart, bytes]]:
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
        try:
            for name, chart in read_lock().items():
                if pinned_only and chart.digest is None:
                    continue
                archive = download(chart, client)
                if chart.digest is not None:
                    charts_lock.check_digest(chart, archive, name)
                yield name, chart, archive
        except (DownloadError, ValueError) as error:
            raise ConfigError(str(error)) from error


def _say(text: str) -> None:
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
