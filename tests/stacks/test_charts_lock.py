"""The lock of charts, and where their archives come from."""

import hashlib
import json

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks import charts_lock
from stacks.charts_download import DownloadError, download
from stacks.charts_lock import (
    LOCK,
    LockedChart,
    archive_of,
    locked,
    read_lock,
    require_digests,
    with_digests,
)
from stacks.cli import charts as command
from stacks.config.load import ConfigError

ARCHIVE = b"archive of a chart"
DIGEST = f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}"
SHIPPED = read_lock()
LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def chart(**changes) -> LockedChart:
    values = {
        "chart": "keda",
        "repository": "https://charts.test/stable",
        "version": "2.21.1",
        "digest": None,
        "kind": "chart",
        "reason": "no hooks at all",
        "source": "a release page",
    }
    return LockedChart.model_validate({**values, **changes})


OCI = {"chart": "oci://registry.test/charts/kgateway", "repository": None, "version": "v2.2.8+1"}


def serving(answers):
    def answer(request: httpx.Request) -> httpx.Response:
        found = answers.get(str(request.url), httpx.Response(404))
        return found(request) if callable(found) else found

    return httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True)


def index(**entries):
    return httpx.Response(200, text=yaml.safe_dump({"entries": entries}))


def test_the_lock_of_the_project_can_be_read():
    assert {"cluster-autoscaler", "keda", "kube-prometheus-stack", "kgateway"} <= set(SHIPPED)


def test_a_chart_outside_the_lock_is_refused():
    with pytest.raises(ValueError, match=r"'argo-cd' is not in stacks/charts\.lock\.yaml"):
        locked("argo-cd", SHIPPED)


def test_production_takes_no_chart_without_digest():
    charts = {"keda": chart(), "kgateway": chart(digest=DIGEST)}
    require_digests(["kgateway"], charts)
    with pytest.raises(ValueError, match="keda: no digest"):
        require_digests(charts, charts)


MANIFEST = {"chart": "https://files.test/v1/crds.yaml", "repository": None, "kind": "manifest"}


def test_a_manifest_is_one_file():
    client = serving({MANIFEST["chart"]: httpx.Response(200, content=ARCHIVE)})
    manifest = chart(**MANIFEST)
    assert download(manifest, client) == ARCHIVE
    assert manifest.archive == "2.21.1-crds.yaml"


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": None},
        {**MANIFEST, "kind": "chart"},
        {"kind": "manifest"},
        {"chart": "oci://registry.test/charts/keda"},
        {"repository": "http://charts.test"},
        {"version": "latest"},
        {"version": "2.x"},
        {"digest": "sha256:abc"},
    ],
)
def test_a_chart_that_is_not_pinned_is_refused(changes):
    with pytest.raises(ValueError, match="validation error"):
        chart(**changes)


@settings(deadline=None)
@given(st.sets(st.sampled_from(sorted(SHIPPED)), min_size=1))
def test_digests_are_written_where_they_belong_and_nothing_else_changes(names):
    text = LOCK.read_text()
    digests = {
        name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        for name in names
        if SHIPPED[name].digest is None
    }
    written = with_digests(text, digests)
    for name, entry in yaml.safe_load(written)["charts"].items():
        assert entry["digest"] == digests.get(name, SHIPPED[name].digest)
    for digest in digests.values():
        written = written.replace(digest, "null")
    assert written == text


def test_a_digest_is_never_written_over_another_one():
    text = "charts:\n  keda:\n    digest: sha256:1\n"
    with pytest.raises(ValueError, match="no `digest: null` for keda"):
        with_digests(text, {"keda": DIGEST})


def test_an_archive_is_used_only_as_the_lock_knows_it(tmp_path):
    pinned = chart(digest=DIGEST)
    assert archive_of(chart(), tmp_path) is None
    with pytest.raises(ValueError, match="run `pipeline charts fetch`"):
        archive_of(pinned, tmp_path)
    path = tmp_path / "keda-2.21.1.tgz"
    path.write_bytes(ARCHIVE)
    assert archive_of(pinned, tmp_path) == path
    path.write_bytes(ARCHIVE + b".")
    with pytest.raises(ValueError, match="was published again"):
        archive_of(pinned, tmp_path)


def test_a_repository_names_the_archive_in_its_index():
    entries = {"keda": [{"version": "2.21.1", "urls": ["archives/keda-2.21.1.tgz"]}]}
    client = serving(
        {
            "https://charts.test/stable/index.yaml": index(**entries),
            "https://charts.test/stable/archives/keda-2.21.1.tgz": httpx.Response(
                200, content=ARCHIVE
            ),
        }
    )
    assert download(chart(), client) == ARCHIVE
    with pytest.raises(DownloadError, match=r"no keda 9\.9\.9 \(first there: 2\.21\.1\)"):
        download(chart(version="9.9.9"), client)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(200, text="- not\n- an index"),
        httpx.Response(200, text="{"),
        index(keda=[{"version": "2.21.1", "urls": ["http://charts.test/keda.tgz"]}]),
    ],
)
def test_a_repository_that_answers_with_nonsense_is_named(answer):
    client = serving({"https://charts.test/stable/index.yaml": answer})
    with pytest.raises(DownloadError, match=r"charts\.test"):
        download(chart(), client)


def registry(*, layers=1, token_for=None):
    """A registry that gives anybody a token, and whose blobs lie elsewhere."""

    def guarded(response):
        def answer(request):
            if request.headers.get("Authorization") == "Bearer anybody":
                return response
            challenge = 'Bearer realm="https://auth.test/token",service="registry",scope="pull"'
            return httpx.Response(401, headers={"WWW-Authenticate": token_for or challenge})

        return answer

    def blob(request):
        # Object storage refuses a request that is signed twice.
        return httpx.Response(400 if "Authorization" in request.headers else 200, content=ARCHIVE)

    manifest = {"layers": [{"mediaType": LAYER, "digest": "sha256:blob"}] * layers}
    address = "https://registry.test/v2/charts/kgateway"
    return serving(
        {
            f"{address}/manifests/v2.2.8_1": guarded(
                httpx.Response(200, text=json.dumps(manifest))
            ),
            "https://auth.test/token?service=registry&scope=pull": httpx.Response(
                200, json={"token": "anybody"}
            ),
            f"{address}/blobs/sha256:blob": guarded(
                httpx.Response(307, headers={"Location": "https://blobs.test/archive"})
            ),
            "https://blobs.test/archive": blob,
        }
    )


def test_a_registry_gives_a_chart_to_anybody():
    assert download(chart(**OCI), registry()) == ARCHIVE


def test_an_image_is_no_chart():
    with pytest.raises(DownloadError, match="0 chart layers"):
        download(chart(**OCI), registry(layers=0))


def test_a_registry_that_asks_for_a_password_is_named():
    with pytest.raises(DownloadError, match="without a login"):
        download(chart(**OCI), registry(token_for='Basic realm="private"'))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A lock of two charts, one with a digest."""
    entries = {
        "keda": chart().model_dump(),
        "kgateway": chart(chart="kgateway", digest=DIGEST).model_dump(),
    }
    lock = tmp_path / "charts.lock.yaml"
    lock.write_text("# a comment\n" + yaml.safe_dump({"charts": entries}, sort_keys=False))
    monkeypatch.setattr(charts_lock, "LOCK", lock)
    monkeypatch.setattr(charts_lock, "ARCHIVES", tmp_path / "archives")
    monkeypatch.setattr(command, "read_lock", lambda: read_lock(lock))
    monkeypatch.setattr(command, "download", lambda chart, client: ARCHIVE)
    return tmp_path


def test_the_command_resolves_what_is_open(project):
    command.lock()
    lock = project / "charts.lock.yaml"
    assert {each.digest for each in read_lock(lock).values()} == {DIGEST}
    assert lock.read_text().startswith("# a comment\n")


def test_the_command_fetches_what_is_pinned(project, capsys):
    command.fetch()
    assert [each.name for each in (project / "archives").iterdir()] == ["kgateway-2.21.1.tgz"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "not fetched, without a digest (`pipeline charts lock`): keda"
    assert said[1].startswith("kgateway: ")


def test_the_command_refuses_a_version_that_was_published_again(project, monkeypatch):
    monkeypatch.setattr(command, "download", lambda chart, client: b"another")
    with pytest.raises(ConfigError, match="kgateway: is sha256:"):
        command.lock()
    assert "digest: null" in (project / "charts.lock.yaml").read_text()
