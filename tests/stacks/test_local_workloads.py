"""What the services of a local environment are told, and how that fits together."""

from pathlib import Path

import pytest

from serving.ledger.shipping.config import ShipperConfig
from serving.router.config import RouterConfig
from stacks.config.environment import EnvironmentConfig
from stacks.local_workloads import LocalWorkloads
from stacks.paths import ROOT, StateDirectory
from substrates.local.substrate import LocalSubstrate


@pytest.fixture
def workloads(tmp_path: Path) -> LocalWorkloads:
    config = EnvironmentConfig.model_validate(
        {
            "name": "local",
            "cluster": {"kind": "local"},
            "pools": {
                "slm": {"served_model_name": "llama-8b"},
                "llm": {"served_model_name": "glm5"},
            },
        }
    )
    state = StateDirectory(tmp_path)
    substrate = LocalSubstrate(root=ROOT, home=state.home("local"))
    return LocalWorkloads(config, state, substrate)


def test_the_shipper_ships_what_the_router_writes(workloads: LocalWorkloads) -> None:
    router = RouterConfig.model_validate_json(workloads.router().files["config.json"])
    service = workloads.shipper()
    shipper = ShipperConfig.model_validate_json(service.files["config.json"])
    assert shipper.ledger_dir == router.ledger_dir
    assert shipper.writer == "local-router"
    assert shipper.warehouse_uri == f"file://{workloads.state.home('local')}/warehouse"
    assert not service.ports
