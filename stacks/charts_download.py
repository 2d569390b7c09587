"""Downloads charts from Helm repositories and registries of containers (OCI)."""

import json
import re
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import yaml

from stacks.charts_lock import LockedChart

TIMEOUT_S: Final = 60
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CHART_LAYER: Final = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')


class DownloadError(Exception):
    """A chart that could not be had; names its address."""


def download(chart: LockedChart, client: httpx.Client) -> bytes:
    """The archive of a chart.

    Args:
        chart: Which.
        client: Follows redirects: registries answer with the address of a blob.

    Raises:
        DownloadError: It could not be had.
    """
    try:
        if chart.kind == "manifest":
            return _get(client, chart.chart)
        if chart.repository is None:
            return _from_registry(chart, client)
        return _from_repository(chart, chart.repository, client)
    except (httpx.HTTPError, yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{chart.repository or chart.chart}: {error!r}") from error


def _from_repository(chart: LockedChart, repository: str, client: httpx.Client) -> bytes:
    """As `helm repo`: index.yaml names the archive of each version."""
    index = yaml.safe_load(_get(client, f"{repository}/index.yaml"))
    entries = index["entries"].get(chart.chart, [])
    urls = [each["urls"][0] for each in entries if each["version"] == chart.version]
    if not urls:
        known = ", ".join(each["version"] for each in entries[:5]) or "none"
        raise DownloadError(
            f"{repository}: no {chart.chart} {chart.version} (first there: {known}): correct "
            "stacks/charts.lock.yaml"
        )
    return _get(client, urljoin(f"{repository}/", urls[0]))


def _from_registry(chart: LockedChart, client: httpx.Client) -> bytes:
    """As `helm pull oci://…`: pull of the OCI distribution specification 1.1."""
    host, _, name = chart.chart.removeprefix("oci://").partition("/")
    # Tags know no +; Helm writes _ for it.
    tag = chart.version.replace("+", "_")
    address = f"https://{host}/v2/{name}"
    headers = {"Accept": _MANIFEST}
    answer = client.get(f"{address}/manifests/{tag}", headers=headers)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        token = _token(answer.headers.get("WWW-Authenticate", ""), client)
        headers["Authorization"] = f"Bearer {token}"
    manifest = json.loads(_get(client, f"{address}/manifests/{tag}", headers))
    layers = [each for each in manifest["layers"] if each["mediaType"] == _CHART_LAYER]
    if len(layers) != 1:
        raise DownloadError(f"{chart.chart}:{tag} is no Helm chart: {len(layers)} chart layers")
    return _get(client, f"{address}/blobs/{layers[0]['digest']}", headers)


def _token(challenge: str, client: httpx.Client) -> str:
    """A token for anybody, from where the registry says that tokens are."""
    fields = dict(_CHALLENGE.findall(challenge))
    realm = fields.pop("realm", "")
    if not realm.startswith("https://"):
        raise DownloadError(f"the registry gives nobody a token without a login: {challenge!r}")
    answer: dict[str, Any] = client.get(realm, params=fields).raise_for_status().json()
    return str(answer.get("token") or answer["access_token"])


def _get(client: httpx.Client, url: str, headers: dict[str, str] | None = None) -> bytes:
    if not url.startswith("https://"):
        raise DownloadError(f"{url}: charts come by https only")
    return client.get(url, headers=headers).raise_for_status().content
