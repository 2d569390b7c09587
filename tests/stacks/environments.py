"""Environments that tests declare whole: those that are shipped, and generated ones.

Stand-ins: images and charts have digests that nothing was built or downloaded for, Secrets Manager
and the cluster answer with the values in `SECRETS`, and the KMS key is no key.
"""

import copy
import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.sync_await import _sync_await

from stacks.charts_lock import ARCHIVES, LockedChart, read_lock
from stacks.config.load import ClusterStack, parse
from stacks.paths import ROOT
from stacks.programs.cluster import charts, environment
from tests.components.declared import DOMAIN_KEY, PASSWORD, Answer, Mocks, Program, declare
from tests.stacks.pool_configs import llm, on_cpu, slm

SHIPPED: Final = ("dev", "staging", "prod")
DRAWS: Final = 10
"""Generated environments: enough for each value of each option to come up."""
SECRETS: Final = {
    key: f"5ECRET-of-{key}"
    for key in (
        *("username", "password", "flask-secret-key", "pg_service.conf", "salt", "encryption-key"),
        *("nextauth-secret", "user-password", "project-public-key", "project-secret-key"),
        *("clickhouse-password", "postgres-password", "valkey-password"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "default", "evaluation.pem"),
    )
}
_ZEROS, _ONES = "0" * 64, "1" * 64
_SECRET: Final = "kubernetes:core/v1:Secret"
_MADE_SECRETS: Final = {DOMAIN_KEY: "key", PASSWORD: "password"}
_PEM: Final = (
    Ed25519PrivateKey.from_private_bytes(b"7" * 32)
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
ANSWERS: Final[Mapping[str, Answer]] = {
    "aws:secretsmanager/getSecret:getSecret": lambda asked: {
        "id": asked["name"],
        "name": asked["name"],
        "arn": f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:{asked['name']}",
    },
    "aws:secretsmanager/getSecretVersion:getSecretVersion": lambda asked: {
        "id": asked["secretId"],
        "secretString": f'{{"password": "{SECRETS["password"]}"}}',
    },
}


class Engine(Mocks):
    """Also answers reads of Secrets, and of the outputs of other stacks."""

    def __init__(
        self,
        answers: Mapping[str, Answer] = ANSWERS,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(answers)
        self._outputs = outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Answer; a LookupError becomes the failure of a provider."""
        try:
            return super().call(args)
        except LookupError as error:
            return {}, [("name", str(error))]

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Answer reads, and complete what was declared."""
        if args.typ == "pulumi:pulumi:StackReference":
            return args.name, {"name": args.name, "outputs": self._outputs or {}}
        id_, found = super().new_resource(args)
        if args.typ == _SECRET and args.resource_id:
            found["data"] = SECRETS
        if args.typ in _MADE_SECRETS:
            # Which outputs are secret the resource's options say, and the engine heeds.
            output = _MADE_SECRETS[args.typ]
            found[output] = {
                rpc._special_sig_key: rpc._special_secret_sig,
                "value": found[output],
            }
        return id_, found


@dataclass(frozen=True)
class Graph:
    """What a stack declared, and what it says of itself."""

    program: Program
    exports: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def raw(name: str) -> dict[str, Any]:
    """The `config` section of a shipped file, as if its images were built."""
    text = (ROOT / "stacks" / f"Pulumi.{name}.yaml").read_text()
    config: dict[str, Any] = yaml.safe_load(text.replace(_ZEROS, _ONES))["config"]
    return config


def cluster_stack(config: Mapping[str, Any]) -> ClusterStack:
    """Validate the configuration of an environment on Kubernetes."""
    name = config["pipeline:environment"]["name"]
    stack = parse(config, name, f"stacks/Pulumi.{name}.yaml")
    assert isinstance(stack, ClusterStack)
    return stack


@functools.cache
def shipped(name: str) -> Graph:
    """What a shipped environment declares."""
    return declare_environment(cluster_stack(raw(name)))


def declare_environment(stack: ClusterStack, engine: Engine | None = None) -> Graph:
    """Run the program of an environment."""
    return declare_program(lambda: environment.run(stack), stack.name, engine)


def declare_program(
    run: Callable[[], Any],
    stack: str,
    engine: Engine | None = None,
) -> Graph:
    """Run a program, with charts as if they had been downloaded.

    Args:
        run: The program; it may be a coroutine function.
        stack: Name of the stack.
        engine: Stands in for the engine and the providers.
    """
    exports: dict[str, Any] = {}
    warnings: list[str] = []

    def build() -> None:
        waiting = run()
        if waiting is not None:
            _sync_await(waiting)
        root = get_root_resource()
        pulumi.Output.from_input(dict(root.outputs)).apply(exports.update)

    with pytest.MonkeyPatch.context() as patch:
        _download_charts(patch)
        patch.setattr(pulumi.log, "warn", lambda text, *_: warnings.append(text))
        program = declare(build, stack=stack, engine=engine or Engine())
    return Graph(program, exports, warnings)


def _download_charts(patch: pytest.MonkeyPatch) -> None:
    lock = {
        name: chart.model_copy(update={"digest": f"sha256:{_ONES}"})
        for name, chart in read_lock().items()
    }
    patch.setattr(charts, "read_lock", lambda: lock)

    def archive_of(chart: LockedChart) -> Any:
        return ARCHIVES / chart.archive

    patch.setattr(charts, "archive_of", archive_of)


# What is generated: each option goes through its values in an order of its own, so that all of them
# come up and meet those of others.
OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "place": ("eks", "existing", "eks"),
    "phase": ("1", "2", "3", "4"),
    "pools": ("both", "one"),
    "gateway": ("direct", "file", "postgres"),
    "traces": ("mlflow", "langfuse", "otlp"),
    "keda": ("install", "off", "present"),
    "prometheus": ("present", "install", "off"),
    "gpu": ("install", "present", "off"),
    "edge": ("install", "other", "off", "present"),
    "tls": ("cert-manager", "secret", "external-secret"),
    "capacity": ("on-demand", "reservation", "block"),
    "nodes": ("spot", "floor", "on-demand"),
    "names": ("short", "longest"),
    "training": ("yes", "no"),
}


def drawn(number: int) -> dict[str, str]:
    """The options of one generated environment."""
    values: dict[str, str] = {}
    for option, choices in OPTIONS.items():
        order = random.Random(option).sample(range(DRAWS), DRAWS)
        values[option] = choices[order[number] % len(choices)]
    return values


def generated(number: int) -> dict[str, Any]:
    """The `config` section of a generated environment."""
    chosen = drawn(number)
    on_eks = chosen["place"] == "eks"
    long = chosen["names"] == "longest"
    name = "environmentoftwenty1" if long else "test"
    config: dict[str, Any] = copy.deepcopy(raw("staging")["pipeline:environment"])
    config |= {
        "name": name,
        "phase": int(chosen["phase"]),
        "prefix": "prefix-sixteen-x" if long else "acme",
        "adapters": {"max_loras": 4, "max_cpu_loras": 8, "max_lora_rank": 16},
        "pools": _pools(chosen, on_eks),
        "operators": _operators(chosen, on_eks),
        "edge": _edge(chosen, name),
        "gateway": _gateway(chosen),
        "services": _services(chosen, on_eks),
    }
    if on_eks:
        config["cluster"]["nodes"] = _nodes(chosen)
        models = f"s3://{config['prefix']}-models-{config['cluster']['account']}/base"
        for pool in config["pools"].values():
            pool["weights"]["source"] = {"kind": "bucket", "uri": models}
    else:
        config |= {"cluster": _existing(chosen), "storage": _existing_storage(), "tags": {}}
    return {"pipeline:kind": "environment", "pipeline:environment": config}


def _names(chosen: Mapping[str, str]) -> tuple[str, ...]:
    if chosen["pools"] == "both":
        return ("slm", "llm")
    return ("llm",) if int(chosen["phase"]) < 3 else ("slm",)


def _pools(chosen: Mapping[str, str], on_eks: bool) -> dict[str, Any]:
    scales = {} if chosen["keda"] == "off" else {"replicas": {"min": 1, "max": 2}}
    sleeps = {} if chosen["keda"] == "off" else {"scale_to_zero": True}
    if on_eks:
        made = {"slm": slm(**scales, **sleeps), "llm": llm(adapters=chosen["nodes"] != "spot")}
    else:
        made = {
            "slm": on_cpu(**scales, **sleeps),
            "llm": on_cpu(served_model_name="large", adapters=False),
        }
    return {name: made[name] for name in _names(chosen)}


def _operators(chosen: Mapping[str, str], on_eks: bool) -> dict[str, str]:
    has_gateway = chosen["edge"] in {"install", "present"}
    return {
        "gateway_api": "off" if chosen["edge"] == "off" else "install",
        "kgateway": chosen["edge"] if has_gateway else "off",
        "keda": chosen["keda"],
        "prometheus": "install" if chosen["keda"] == "install" else chosen["prometheus"],
        "external_secrets": "install" if on_eks or chosen["tls"] == "external-secret" else "off",
        "gpu": chosen["gpu"],
    }


def _edge(chosen: Mapping[str, str], name: str) -> dict[str, Any]:
    tls: dict[str, dict[str, Any]] = {
        "cert-manager": {"kind": "cert-manager", "issuer": "internal"},
        "secret": {"kind": "secret", "name": "edge-certificate"},
        "external-secret": {"kind": "external-secret", "store": "vault", "key": "edge"},
    }
    other: dict[str, Any] = {
        "gateway_class": "cilium",
        "gateway_pods": {"namespace": "kube-system", "labels": {"app": "cilium-envoy"}},
    }
    return {
        "hostname": f"llm.{name}.example.com",
        "tls": tls[chosen["tls"]],
        "load_balancer": {"scheme": "internal", "source_ranges": ["10.0.0.0/8"]},
        **(other if chosen["edge"] == "other" else {}),
    }


def _gateway(chosen: Mapping[str, str]) -> dict[str, Any]:
    if chosen["gateway"] == "direct":
        return {"kind": "direct"}
    bifrost: dict[str, Any] = {
        "kind": "bifrost",
        "image": f"maximhq/bifrost@sha256:{_ONES}",
        "virtual_keys": "bifrost-virtual-keys",
        "customers": {"*": {"requests_per_minute": 60}},
    }
    if chosen["gateway"] == "file":
        return bifrost
    bifrost["store"] = {
        "kind": "postgres",
        "host": "db.example.com",
        "password": {"secret": "bifrost-db", "key": "password"},
        "network": "10.0.8.0/24",
    }
    key = {"secret": "bifrost-db", "key": "encryption-key"}
    return bifrost | {"replicas": 1, "encryption_key": key}


def _services(chosen: Mapping[str, str], on_eks: bool) -> dict[str, Any]:
    postgres = {
        "kind": "external",
        "host": "postgres.example.com",
        "networks": ["10.0.9.0/24"],
        "database": "data",
        "username": "owner",
    }
    traces: dict[str, dict[str, Any]] = {
        "mlflow": {"target": "mlflow"},
        "otlp": {
            "target": "otlp",
            "endpoint": "http://collector.observability.svc:4318/v1/traces",
            "networks": ["10.0.7.0/24"],
        },
        "langfuse": {
            **raw("staging")["pipeline:environment"]["services"]["traces"],
            **({} if on_eks else _own_databases(postgres)),
        },
    }
    return {
        "secrets": {"source": "secrets-manager", "prefix": "acme/test"}
        if on_eks
        else {"source": "existing"},
        "mlflow": {"database": {"kind": "rds"} if on_eks else postgres},
        "traces": traces[chosen["traces"]],
    }


def _own_databases(postgres: Mapping[str, Any]) -> dict[str, Any]:
    where = {"kind": "external", "host": "db.example.com", "networks": ["10.0.9.0/24"]}
    return {"database": postgres, "cache": where, "clickhouse": where}


def _nodes(chosen: Mapping[str, str]) -> dict[str, Any]:
    reservation = "cr-0123456789abcdef0"
    capacities: dict[str, dict[str, Any]] = {
        "on-demand": {"kind": "on-demand"},
        "reservation": {"kind": "reservation", "id": reservation, "instances": 1},
        "block": {
            "kind": "block",
            "id": reservation,
            "instances": 1,
            "desired": 1,
            "version": "1.35",
        },
    }
    small: dict[str, dict[str, Any]] = {
        "spot": {"price": "spot"},
        "floor": {"price": "spot", "on_demand_floor": 1},
        "on-demand": {"price": "on-demand"},
    }
    groups: dict[str, Any] = {
        "slm": small[chosen["nodes"]],
        "llm": {"zone": "eu-central-1b", "capacity": capacities[chosen["capacity"]]},
        "training": {"instance_types": ["g6e.xlarge"], "price": "spot", "checkpoints": True},
    }
    wanted = {*_names(chosen), *(["training"] if chosen["training"] == "yes" else [])}
    return {name: group for name, group in groups.items() if name in wanted}


def _existing(chosen: Mapping[str, str]) -> dict[str, Any]:
    wanted = [*_names(chosen), *(["training"] if chosen["training"] == "yes" else [])]
    return {
        "kind": "existing",
        "context": "kind-pipeline",
        "api_server": {"cidr": "10.0.0.10/32"},
        "object_storage": {
            "endpoint": "http://10.0.6.1:9000",
            "cidr": "10.0.6.0/24",
            "credentials_secret": "object-store",
        },
        "nodes": {name: {"vcpu": 8, "ram_gib": 32} for name in wanted},
    }


def _existing_storage() -> dict[str, Any]:
    kinds = ("registry", "warehouse", "artifacts", "models", "datasets", "traces")
    uris = {f"{kind}_uri": f"s3://store/{kind}" for kind in kinds}
    return {"kind": "existing", **uris, "verdicts": {"public_key": _PEM}}
