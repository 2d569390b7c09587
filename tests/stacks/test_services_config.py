"""Configurations of services that are refused, and what the refusal says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stacks.config.services import RdsPostgres, ServicesConfig

_EXISTING: dict[str, Any] = {"source": "existing"}
_MANAGER: dict[str, Any] = {"source": "secrets-manager", "prefix": "pipeline/prod"}
_MLFLOW_TRACES: dict[str, Any] = {"target": "mlflow"}


def _config(
    database: dict[str, Any], *, secrets: dict[str, Any] = _EXISTING, **mlflow: Any
) -> ServicesConfig:
    return ServicesConfig.model_validate(
        {
            "secrets": secrets,
            "mlflow": {"database": database, **mlflow},
            "traces": _MLFLOW_TRACES,
        }
    )


@given(replicas=st.integers(min_value=2, max_value=8))
def test_sqlite_has_one_writer(replicas: int) -> None:
    with pytest.raises(ValidationError, match=rf"replicas {replicas}: .* allows 1; use .* rds"):
        _config({"kind": "sqlite"}, replicas=replicas)


def test_a_password_in_secrets_manager_needs_its_secrets_from_there() -> None:
    with pytest.raises(ValidationError, match=r"mlflow\.database\.kind: .* set secrets\.source to"):
        _config({"kind": "rds"})
    assert _config({"kind": "rds"}, secrets=_MANAGER).managed == (
        "secrets.source",
        "mlflow.database.kind",
    )


def test_a_configuration_without_aws_says_so() -> None:
    assert _config({"kind": "sqlite"}).managed == ()


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "10.0.0.1/8"])
def test_a_server_is_in_a_network_of_its_own(network: str) -> None:
    database = {
        "kind": "external",
        "host": "postgres.example.com",
        "networks": [network],
        "database": "mlflow",
        "username": "mlflow",
    }
    with pytest.raises(ValidationError, match=r"whole internet|no network"):
        _config(database)


@given(storage=st.integers(min_value=20, max_value=1000), extra=st.integers(0, 200))
def test_storage_may_grow_by_what_rds_asks_for(storage: int, extra: int) -> None:
    values = {"kind": "rds", "storage_gib": storage, "max_storage_gib": storage + extra}
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
    if extra * 10 >= storage:
        assert RdsPostgres.model_validate(values).max_storage_gib == storage + extra
    else:
        with pytest.raises(ValidationError, match=r"a tenth more than storage_gib"):
            RdsPostgres.model_validate(values)


def test_every_option_is_described() -> None:
    schema = ServicesConfig.model_json_schema()
    models = {"ServicesConfig": schema, **schema["$defs"]}
    undescribed = [
        f"{model}.{name}"
        for model, content in models.items()
        for name, option in content.get("properties", {}).items()
        if "const" not in option and "description" not in option
    ]
    assert undescribed == []
