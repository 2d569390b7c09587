"""The control plane with a translator stand-in that answers with a recording, or refuses."""

import json
from pathlib import Path

import pytest
import yaml

from serving.edge.config import EdgeConfig
from serving.edge.controller import Controller
from serving.edge.files import replace_file
from serving.edge.routes import http_route
from serving.edge.xds import TranslationError

from .conftest import edge_config

RECORDED = (Path(__file__).parent / "translated.yaml").read_text()


class TranslatorStandIn:
    """Makes the recorded route of bank-ledger, renamed, for each route; knows no other rule.

    Refuses any input with a header value `poison`.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.works = True

    def __call__(self, objects: str) -> str:
        self.calls += 1
        documents = list(yaml.safe_load_all(objects))
        if not self.works or "poison" in objects:
            raise TranslationError("refused")
        answer = yaml.safe_load(RECORDED)
        names = [
            document["metadata"]["name"]
            for document in documents
            if document["kind"] == "HTTPRoute" and "environment" not in document["metadata"]["name"]
        ]
        for dump in answer["xds"]["pipeline/edge"]["configs"]:
            for key, value in dump.items():
                if isinstance(value, list):
                    dump[key] = self._repeat(value, names)
        return yaml.safe_dump(answer)

    @staticmethod
    def _repeat(entries: list, names: list[str]) -> list:
        kept = [entry for entry in entries if "domain-bank-ledger" not in json.dumps(entry)]
        copied = [entry for entry in entries if "domain-bank-ledger" in json.dumps(entry)]
        for entry in copied:
            kept += [
                json.loads(json.dumps(entry).replace("domain-bank-ledger", name)) for name in names
            ]
        return kept


@pytest.fixture
def config(tmp_path: Path) -> EdgeConfig:
    config = edge_config(tmp_path, 9081)
    config.routes_dir.mkdir()
    config.xds_dir.mkdir()
    return config


@pytest.fixture
def translator() -> TranslatorStandIn:
    return TranslatorStandIn()


def _put(config: EdgeConfig, domain: str, *aliases: str) -> None:
    route = http_route(domain, aliases, "pipeline", "edge", "router", 8081)
    replace_file(config.routes_dir / f"{domain}.yaml", yaml.safe_dump(route))


def _clusters(config: EdgeConfig) -> set[str]:
    text = (config.xds_dir / "cds.json").read_text()
    return {each["name"].split("/")[2] for each in json.loads(text)["resources"]}


def _status(config: EdgeConfig) -> dict:
    return json.loads((config.xds_dir / "status.json").read_text())


def test_a_change_is_served_and_no_change_asks_nobody(
    config: EdgeConfig, translator: TranslatorStandIn
) -> None:
    controller = Controller(config, translator)
    _put(config, "alpha")
    assert controller.step()
    assert not controller.step()
    assert translator.calls == 1
    _put(config, "beta")
    assert controller.step()
    assert _clusters(config) == {"domain-alpha", "domain-beta", "edge-environment"}


def test_a_removed_domain_loses_its_cluster_only_after_its_route(
    config: EdgeConfig, translator: TranslatorStandIn
) -> None:
    controller = Controller(config, translator)
    _put(config, "alpha")
    _put(config, "beta")
    controller.step()
    (config.routes_dir / "alpha.yaml").unlink()
    controller.step()
    assert "domain-alpha" in _clusters(config)
    controller.settle()
    assert _clusters(config) == {"domain-beta", "edge-environment"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: [", "alpha.yaml"),
        ("kind: Gateway", "not an HTTPRoute object"),
        ("kind: HTTPRoute\nmetadata: {name: x, namespace: other}\nspec: {}", "namespace pipeline"),
        ("kind: HTTPRoute\nmetadata: {name: x, namespace: pipeline}\nspec: {}", "Gateway edge"),
    ],
)
def test_a_file_that_turns_bad_keeps_its_last_good_route(
    config: EdgeConfig, translator: TranslatorStandIn, text: str, problem: str
) -> None:
    controller = Controller(config, translator)
    _put(config, "alpha")
    controller.step()
    (config.routes_dir / "alpha.yaml").write_text(text)
    _put(config, "beta")
    controller.step()
    assert _clusters(config) == {"domain-alpha", "domain-beta", "edge-environment"}
    assert problem in _status(config)["problems"]["alpha.yaml"]


def test_a_route_that_the_translator_refuses_harms_no_other(
    config: EdgeConfig, translator: TranslatorStandIn
) -> None:
    controller = Controller(config, translator)
    _put(config, "alpha")
    _put(config, "beta", "poison")
    assert controller.step()
    assert _clusters(config) == {"domain-alpha", "edge-environment"}
    assert _status(config)["problems"] == {"beta.yaml": "refused"}
    _put(config, "beta")
    assert controller.step()
    assert _status(config)["serving"] == ["alpha.yaml", "beta.yaml"]
    assert _status(config)["problems"] == {}


def test_an_alias_of_two_domains_is_reported(
    config: EdgeConfig, translator: TranslatorStandIn
) -> None:
    controller = Controller(config, translator)
    _put(config, "alpha", "shared")
    _put(config, "beta", "shared")
    controller.step()
    assert "claimed by alpha.yaml" in _status(config)["problems"]["beta.yaml"]


def test_without_a_translator_what_is_served_stays(
    config: EdgeConfig, translator: TranslatorStandIn
) -> None:
    controller = Controller(config, translator)
    _put(config, "alpha")
    controller.step()
    before = (config.xds_dir / "rds.json").read_bytes()
    translator.works = False
    _put(config, "beta")
    assert not controller.step()
    assert (config.xds_dir / "rds.json").read_bytes() == before
    assert _status(config)["problems"]["translator"] == "refused"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    config: EdgeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config.xds_dir / "rds.json"
    replace_file(path, "old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, "new")
    assert [each.name for each in config.xds_dir.iterdir()] == ["rds.json"]
    assert path.read_text() == "old"
