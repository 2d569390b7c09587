"""Users of the real MLflow: what they may do, and that others may not do it."""

import asyncio
import datetime as dt
import subprocess
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from fixtures import ADMIN
from traces import LABELS, running_tracer, trace

from benchmarks.processes import ROOT, python
from serving.mlflow_users.__main__ import main
from serving.mlflow_users.config import MlflowUser, MlflowUsersConfig, Permission
from serving.reconciliation.config import MlflowTraces
from serving.reconciliation.errors import ReconciliationError
from serving.reconciliation.mlflow import Mlflow
from serving.tracing.config import MlflowTarget, SecretSource, TracingConfig

BANK, STOCK = "pipeline-domain-bank-ledger", "pipeline-domain-stock-order"
ROUTER, RECONCILIATION = "pipeline-router", "pipeline-reconciliation"
PASSWORDS = {
    BANK: "first-password-of-the-bank",
    STOCK: "first-password-of-the-stock",
    ROUTER: "first-password-of-the-router",
    RECONCILIATION: "first-password-of-the-reader",
}
EXPERIMENTS = {BANK: "training/bank-ledger", STOCK: "training/stock-order"}
_TRAINING = """
import sys
from pathlib import Path
from types import SimpleNamespace
from training_jobs.train.tracking import Tracking

url, experiment, directory = sys.argv[1:]
config = SimpleNamespace(
    mlflow_url=url, experiment=experiment, domain="d", run_id="train-0f",
    work_directory=Path(directory), hyperparameters=lambda: {"rank": 8},
)
tracking = Tracking(config)
tracking.metrics({"loss": 0.5}, step=1)
tracking.finish("/adapter")
print(tracking.run_id)
"""


@dataclass(frozen=True)
class Server:
    """MLflow, and the job that makes its users."""

    url: str
    directory: Path
    patch: pytest.MonkeyPatch

    def provide(self, *names: str, **passwords: str) -> int:
        """Run the job for some users; gives its exit status."""
        return self.provide_users([_user(name) for name in names], passwords)

    def provide_users(self, users: list[MlflowUser], passwords: dict[str, str]) -> int:
        for name, value in {**PASSWORDS, **passwords}.items():
            self.patch.setenv(_variable(name), value)
        self.patch.setenv("ADMIN_NAME", ADMIN[0])
        self.patch.setenv("ADMIN_PASSWORD", ADMIN[1])
        config = MlflowUsersConfig(
            url=self.url,
            admin_username=SecretSource(env="ADMIN_NAME"),
            admin_password=SecretSource(env="ADMIN_PASSWORD"),
            users=tuple(users),
        )
        file = self.directory / "users.json"
        file.write_text(config.model_dump_json())
        self.patch.setattr("sys.argv", ["mlflow_users", "--config", str(file)])
        return main()

    def ask(
        self, user: str, method: str, path: str, password: str | None = None, **options: Any
    ) -> requests.Response:
        login = ADMIN if user == ADMIN[0] else (user, password or PASSWORDS[user])
        url = f"{self.url}/api/{path}"
        return requests.request(method, url, auth=login, timeout=30, **options)

    def experiment(self, name: str) -> str:
        found = self.ask(ADMIN[0], "GET", _BY_NAME, params={"experiment_name": name})
        return str(found.json()["experiment"]["experiment_id"])

    def create_run(self, user: str, experiment: str, password: str | None = None) -> Any:
        body = {"experiment_id": experiment}
        return self.ask(user, "POST", "2.0/mlflow/runs/create", password, json=body)

    def permissions(self, user: str) -> set[tuple[str, str]]:
        listed = self.ask(ADMIN[0], "GET", f"{_PERMISSIONS}/list", params={"username": user})
        return {
            (row["resource_pattern"], row["permission"]) for row in listed.json()["permissions"]
        }


_BY_NAME = "2.0/mlflow/experiments/get-by-name"
_PERMISSIONS = "3.0/mlflow/users/permissions"


def _variable(name: str) -> str:
    return f"PASSWORD_{name.upper().replace('-', '_')}"


def _user(name: str, permission: Permission = "EDIT", experiment: str | None = None) -> MlflowUser:
    return MlflowUser(
        name=name,
        password=SecretSource(env=_variable(name)),
        experiment=experiment or EXPERIMENTS[name],
        permission=permission,
    )


@pytest.fixture
def server(mlflow_with_users: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Both domains are there, however often: each test begins with their first passwords."""
    made = Server(mlflow_with_users, tmp_path, monkeypatch)
    assert made.provide(BANK) == 0
    assert made.provide(STOCK) == 0
    return made


@pytest.mark.local
def test_a_second_run_changes_nothing(server: Server) -> None:
    def state() -> Any:
        users = server.ask(ADMIN[0], "GET", "2.0/mlflow/users/list").json()["users"]
        search = {"max_results": 100}
        found = server.ask(ADMIN[0], "POST", "2.0/mlflow/experiments/search", json=search).json()
        return users, {each["name"]: each["experiment_id"] for each in found["experiments"]}

    before = state()
    assert {EXPERIMENTS[BANK], EXPERIMENTS[STOCK]} <= set(before[1])
    assert server.provide(BANK) == 0
    assert state() == before


@pytest.mark.local
def test_training_logs_a_run_in_the_experiment_of_its_domain(server: Server) -> None:
    """With MLflow's own client, as training does."""
    command = [python(".venv-mlflow"), "-c", _TRAINING]
    done = subprocess.run(
        [*command, server.url, EXPERIMENTS[BANK], str(server.directory)],
        env={
            "PYTHONPATH": str(ROOT),
            "HOME": str(server.directory),
            "MLFLOW_TRACKING_USERNAME": BANK,
            "MLFLOW_TRACKING_PASSWORD": PASSWORDS[BANK],
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = server.ask(
        ADMIN[0], "GET", "2.0/mlflow/runs/get", params={"run_id": done.stdout.split()[-1]}
    ).json()["run"]
    assert run["info"]["experiment_id"] == server.experiment(EXPERIMENTS[BANK])
    assert run["info"]["status"] == "FINISHED"
    assert [(each["key"], each["value"]) for each in run["data"]["metrics"]] == [("loss", 0.5)]


@pytest.mark.local
def test_a_domain_sees_and_changes_nothing_of_another(server: Server) -> None:
    theirs = server.experiment(EXPERIMENTS[STOCK])
    run = server.create_run(STOCK, theirs).json()["run"]["info"]["run_id"]
    by_id, by_run = {"experiment_id": theirs}, {"run_id": run}
    artifacts = "2.0/mlflow-artifacts/artifacts"
    artifact = f"{artifacts}/{theirs}/{run}/artifacts/weights"
    assert server.ask(STOCK, "PUT", artifact, data=b"x").status_code == HTTPStatus.OK
    refused = {
        "read": server.ask(BANK, "GET", "2.0/mlflow/experiments/get", params=by_id),
        "by name": server.ask(
            BANK, "GET", _BY_NAME, params={"experiment_name": EXPERIMENTS[STOCK]}
        ),
        "delete": server.ask(BANK, "POST", "2.0/mlflow/experiments/delete", json=by_id),
        "write": server.create_run(BANK, theirs),
        "read run": server.ask(BANK, "GET", "2.0/mlflow/runs/get", params=by_run),
        "delete run": server.ask(BANK, "POST", "2.0/mlflow/runs/delete", json=by_run),
        "read artifact": server.ask(BANK, "GET", artifact),
        "delete artifact": server.ask(BANK, "DELETE", artifact),
        "grant": server.ask(
            BANK,
            "POST",
            f"{_PERMISSIONS}/grant",
            json={
                "username": BANK,
                "resource_type": "experiment",
                "resource_id": theirs,
                "permission": "MANAGE",
            },
        ),
        "password": server.ask(
            BANK,
            "PATCH",
            "2.0/mlflow/users/update-password",
            json={"username": STOCK, "password": "x" * 12},
        ),
    }
    codes = {what: answer.status_code for what, answer in refused.items()}
    assert codes == dict.fromkeys(refused, HTTPStatus.FORBIDDEN)
    search = {"max_results": 100}
    found = server.ask(BANK, "POST", "2.0/mlflow/experiments/search", json=search).json()
    assert {each["name"] for each in found["experiments"]} == {EXPERIMENTS[BANK]}
    assert server.ask(STOCK, "GET", artifact).content == b"x"


@pytest.mark.local
def test_a_domain_deletes_not_even_what_is_its_own(server: Server) -> None:
    mine = server.experiment(EXPERIMENTS[BANK])
    run = server.create_run(BANK, mine).json()["run"]["info"]["run_id"]
    for path, body in (
        ("2.0/mlflow/experiments/delete", {"experiment_id": mine}),
        ("2.0/mlflow/runs/delete", {"run_id": run}),
    ):
        assert server.ask(BANK, "POST", path, json=body).status_code == HTTPStatus.FORBIDDEN


@pytest.mark.local
def test_another_password_ends_the_one_before(server: Server) -> None:
    mine, second = server.experiment(EXPERIMENTS[BANK]), "second-password-of-the-bank"
    assert server.create_run(BANK, mine).status_code == HTTPStatus.OK
    assert server.provide(BANK, **{BANK: second}) == 0
    assert server.create_run(BANK, mine).status_code == HTTPStatus.UNAUTHORIZED
    assert server.create_run(BANK, mine, second).status_code == HTTPStatus.OK
    assert server.permissions(BANK) == {(mine, "EDIT")}


@pytest.mark.local
def test_whoever_was_there_before_a_domain_loses_its_experiment(server: Server) -> None:
    """Users may create experiments, and manage what they created."""
    name, late = "training/late", "pipeline-domain-late"
    made = server.ask(BANK, "POST", "2.0/mlflow/experiments/create", json={"name": name})
    theirs = made.json()["experiment_id"]
    assert (theirs, "MANAGE") in server.permissions(BANK)
    user = _user(late, experiment=name)
    assert server.provide_users([user], {late: "password-of-the-late-one"}) == 0
    assert server.permissions(BANK) == {(server.experiment(EXPERIMENTS[BANK]), "EDIT")}
    assert server.permissions(late) == {(theirs, "EDIT")}
    # And another permission takes the place of the one before.
    user = _user(late, "READ", experiment=name)
    assert server.provide_users([user], {late: "password-of-the-late-one"}) == 0
    assert server.permissions(late) == {(theirs, "READ")}


@pytest.mark.local
def test_people_keep_what_they_were_given(server: Server) -> None:
    mine = server.experiment(EXPERIMENTS[BANK])
    person = {"username": "reviewer", "password": "password-of-a-person"}
    server.ask(ADMIN[0], "POST", "2.0/mlflow/users/create", json=person)
    given = {"username": "reviewer", "resource_type": "experiment", "resource_id": mine}
    server.ask(ADMIN[0], "POST", f"{_PERMISSIONS}/grant", json={**given, "permission": "READ"})
    assert server.provide(BANK) == 0
    assert server.permissions("reviewer") == {(mine, "READ")}


@pytest.mark.local
def test_a_deleted_experiment_is_not_made_anew(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, user = "training/gone", _user("pipeline-domain-gone", experiment="training/gone")
    passwords = {user.name: "password-of-the-gone-one"}
    assert server.provide_users([user], passwords) == 0
    body = {"experiment_id": server.experiment(gone)}
    server.ask(ADMIN[0], "POST", "2.0/mlflow/experiments/delete", json=body)
    assert server.provide_users([user], passwords) == 1
    said = capsys.readouterr().err
    assert "experiment 'training/gone' is deleted: restore it" in said


@pytest.mark.local
def test_a_refusal_names_the_call_and_no_password(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"pipeline-domain-short": "too-short"}
    user = _user("pipeline-domain-short", experiment="training/short")
    assert server.provide_users([user], short) == 1
    said = capsys.readouterr().err
    assert "users/create: answered 400 INVALID_PARAMETER_VALUE" in said
    assert "too-short" not in said


@pytest.mark.local
async def test_routers_write_traces_and_the_reconciliation_only_reads_them(
    server: Server,
) -> None:
    users = [_user(ROUTER, "EDIT", "inference"), _user(RECONCILIATION, "READ", "inference")]
    assert await asyncio.to_thread(server.provide_users, users, {}) == 0
    target = MlflowTarget(
        url=server.url,
        username=SecretSource(env="ROUTER_NAME"),
        password=SecretSource(env=_variable(ROUTER)),
    )
    server.patch.setenv("ROUTER_NAME", ROUTER)
    client = Mlflow(MlflowTraces(url=server.url), _as(RECONCILIATION))
    async with (
        running_tracer(TracingConfig(target=target)) as (tracer, dropped),
        asyncio.timeout(60),
    ):
        tracer.record(trace())
        while await asyncio.to_thread(_requests, client) < 1:
            await asyncio.sleep(0.3)
    assert not dropped
    inference = server.experiment("inference")
    assert server.create_run(RECONCILIATION, inference).status_code == HTTPStatus.FORBIDDEN
    with pytest.raises(ReconciliationError, match="403"):
        _requests(Mlflow(MlflowTraces(url=server.url), _as(BANK)))


def _as(user: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": PASSWORDS[user]}


def _requests(client: Mlflow) -> int:
    at = trace().started_ns // 1_000_000_000
    began = dt.datetime.fromtimestamp(at, dt.UTC)
    return sum(
        amounts.requests
        for amounts in client.traced(
            [LABELS.customer], began, began + dt.timedelta(hours=1)
        ).values()
    )
