"""What somebody may write wrong into a stack file: each says the file, the key and the fix."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from stacks.charts_lock import locked, read_lock
from stacks.config.load import ClusterStack, ConfigError, load, parse, refuse_clashes
from stacks.paths import ROOT
from tests.stacks.environments import ANSWERS, Engine, cluster_stack, declare_environment, raw

ENVIRONMENT = "pipeline:environment"
ABSENT = object()


def changed(stack: str, path: str, value: object) -> dict[str, Any]:
    """A shipped configuration with one key changed."""
    config = raw(stack)
    *folders, key = path.split(".")
    place = config
    for folder in folders:
        place = place[folder]
    if value is ABSENT:
        del place[key]
    else:
        place[key] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("cluster.region", "eu-nowhere-1", "cluster.region: 'eu-nowhere-1' is no region"),
        (
            "cluster.nodes.slm.instance_types",
            ["g9.xlarge"],
            "cluster.nodes.slm.instance_types: 'g9.xlarge' is no instance type of the catalogue: "
            "use g6.xlarge",
        ),
        (
            "cluster.network.cidr",
            "172.20.0.0/16",
            "cluster.network: cidr 172.20.0.0/16 overlaps service_cidr",
        ),
        (
            "cluster.network.cidr",
            "10.40.0.0/24",
            "network.cidr 10.40.0.0/24: each zone gets 10.40.0.0/26 with 59 addresses, but 20 "
            "nodes x 111 + 64 = 2,284 may be needed in one: use /18 or larger",
        ),
        (
            "cluster.nodes.training.price",
            "spot",
            "cluster.nodes.training: price is spot and checkpoints is false: an interrupted job "
            "would begin again from step 0; set price: on-demand",
        ),
        (
            "cluster.nodes.llm.zone",
            "eu-central-1d",
            "nodes.llm.zone: no subnet is in 'eu-central-1d' (zones: eu-central-1a",
        ),
        (
            "pools.slm.weights.dtype",
            "bf16",
            "needed: 1 x 32,768 tokens = 4.0 GiB\nwould fit: weights.dtype: fp8",
        ),
        ("cluster.nodes.slm.spot", True, "cluster.nodes.slm.spot: unknown key"),
        ("cluster.nodes.llm.capacity.ident", "x", "cluster.nodes.llm.capacity.ident: unknown key"),
        (
            "cluster.nodes.llm.capacity.kind",
            "bought",
            "cluster.nodes.llm.capacity.kind: is 'bought', allowed: on-demand, reservation, block",
        ),
        ("pools.slm.weights.source.ur", "x", "pools.slm.weights.source.ur: unknown key"),
        ("pools.slm.weights.source.uri", ABSENT, "pools.slm.weights.source.uri: Field required"),
        ("services.traces.clickhouse.keeper", 1, "services.traces.clickhouse.keeper: unknown key"),
        ("edge.tls.issuer", ABSENT, "edge.tls.issuer: Field required"),
        ("gateway", {}, "gateway.kind: Field required"),
        ("gateway", {"kind": "bifrost"}, "gateway.image: Field required"),
        (
            "images.vllm",
            "vllm/vllm-openai:v0.33.0",
            "images.vllm: is not named by digest: write repository@sha256:<64 hex digits> "
            "(`docker buildx imagetools inspect <image>` shows it) (is 'vllm/vllm-openai:v0.33.0')",
        ),
        (
            "cluster.account",
            "12345",
            "cluster.account: must be written as 12 digits in quotes (is '12345')",
        ),
        ("pools.large", {"model": "x"}, "pools.large: Input should be 'slm' or 'llm'"),
    ],
)
def test_a_mistake_in_an_environment_is_named(path: str, value: object, said: str) -> None:
    config = changed("prod", f"{ENVIRONMENT}.{path}", value)
    with pytest.raises(ConfigError) as refused:
        parse(config, "prod", "stacks/Pulumi.prod.yaml")
    assert str(refused.value).startswith(f"stacks/Pulumi.prod.yaml: {ENVIRONMENT}")
    assert said in str(refused.value)
    # Only the keys of the file, and no dump of everything below them.
    assert not any(tag in str(refused.value) for tag in (".eks.", ".reservation.", "(is {"))


def test_a_key_that_has_the_name_of_its_form_is_named_whole() -> None:
    """`clickhouse.kind` is `operator`, and `operator` is a key there too."""
    path = f"{ENVIRONMENT}.services.traces.clickhouse.operator"
    with pytest.raises(ConfigError, match=r"services\.traces\.clickhouse\.operator: Input should"):
        parse(changed("prod", path, "remove"), "prod", "file")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("customer", ABSENT, "pipeline:domain.customer: Field required"),
        ("pools.slm.rnk", 16, "pipeline:domain.pools.slm.rnk: unknown key"),
        ("pools.slm", "bas", "pipeline:domain.pools.slm: must be a mapping (is 'bas')"),
    ],
)
def test_a_mistake_in_a_domain_is_named(path: str, value: object, said: str) -> None:
    config = changed("prod-bank-ledger", f"pipeline:domain.{path}", value)
    with pytest.raises(ConfigError) as refused:
        parse(config, "prod-bank-ledger", "file")
    assert str(refused.value).startswith(f"file: {said}")


def _blue(prefix: str) -> ClusterStack:
    """A second environment in the account of prod."""
    config = changed("prod", f"{ENVIRONMENT}.name", "blue")
    text = json.dumps(config).replace("pipeline-prod-models", f"{prefix}-models")
    blue: dict[str, Any] = json.loads(text)
    blue[ENVIRONMENT]["prefix"] = prefix
    return cluster_stack(blue)


@pytest.mark.parametrize("prefix", ["pipeline-prod", "pipeline", "pipeline-prod-eu"])
def test_prefixes_of_one_account_do_not_begin_alike(prefix: str) -> None:
    """The one's `db:pipeline-*` would be all databases of the other."""
    with pytest.raises(ConfigError) as refused:
        refuse_clashes([cluster_stack(raw("prod")), _blue(prefix)])
    assert str(refused.value) == (
        f"{ENVIRONMENT}.prefix: {prefix!r} of blue and 'pipeline-prod' of prod are the same or "
        "begin alike, in account 333333333333: change one before its first `up`"
    )


@pytest.mark.parametrize("prefix", ["pipeline-prodb", "pipeline-blue"])
def test_other_prefixes_of_one_account_stand(prefix: str) -> None:
    stacks = [cluster_stack(raw("prod")), _blue(prefix)]
    refuse_clashes([*stacks, *(load(ROOT / "stacks", name) for name in ("dev", "staging"))])


def test_a_secret_that_is_missing_in_secrets_manager_is_named() -> None:
    token = "aws:secretsmanager/getSecret:getSecret"

    def missing(asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["name"].endswith("/mlflow"):
            raise LookupError("couldn't find resource")
        return ANSWERS[token](asked)

    engine = Engine({**ANSWERS, token: missing})
    with pytest.raises(pulumi.RunError) as refused:
        declare_environment(cluster_stack(raw("dev")), engine)
    assert "services.mlflow.secret: Secrets Manager in eu-central-1 has no secret " in str(
        refused.value
    )
    assert "aws secretsmanager create-secret --name pipeline/dev/mlflow" in str(refused.value)


def test_a_chart_outside_of_the_lock_is_refused() -> None:
    with pytest.raises(ValueError, match=r"chart 'istio' is not in stacks/charts\.lock\.yaml"):
        locked("istio", read_lock())


def test_images_that_nobody_built_are_refused() -> None:
    zeros = "example.com/vllm@sha256:" + "0" * 64
    stack = cluster_stack(changed("dev", f"{ENVIRONMENT}.images.vllm", zeros))
    with pytest.raises(pulumi.RunError, match=r"environment\.images\.vllm: its digest is zeros"):
        declare_environment(stack)
