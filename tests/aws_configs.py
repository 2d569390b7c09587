"""Configurations of a cluster in AWS that tests start from."""

from typing import Any

from stacks.config.aws import EksCluster

REGION = "eu-central-1"
ZONES = ("eu-central-1a", "eu-central-1b", "eu-central-1c")
BLOCK = "cr-02168da1478b509e0"


def block(**changes: Any) -> dict[str, Any]:
    """Nodes of the pool llm in a Capacity Block."""
    capacity = {"kind": "block", "id": BLOCK, "instances": 2, "desired": 1, "version": "1.35"}
    return {"zone": ZONES[1], "capacity": {**capacity, **changes}}


def cluster(**changes: Any) -> EksCluster:
    """One with every node group; `changes` replace whole keys."""
    values: dict[str, Any] = {
        "kind": "eks",
        "account": "123456789012",
        "region": REGION,
        "zones": ZONES,
        "version": "1.35",
        "endpoint": "private",
        "admins": ["arn:aws:iam::123456789012:role/platform/admins"],
        "network": {"cidr": "10.20.0.0/16", "nat": "per-zone", "api_clients": ["10.9.0.0/24"]},
        "nodes": {
            "slm": {"on_demand_floor": 1},
            "llm": block(),
            "training": {"instance_types": ["p5.48xlarge"], "price": "spot", "checkpoints": True},
        },
    }
    return EksCluster.model_validate({**values, **changes})
