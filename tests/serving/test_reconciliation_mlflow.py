"""Traces of customers as the real MLflow adds them up."""

import asyncio
import base64
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from traces import LABELS, running_tracer
from traces import trace as sent
from world import serving

from serving.reconciliation.amounts import Amounts
from serving.reconciliation.config import MlflowTraces
from serving.reconciliation.errors import ReconciliationError
from serving.reconciliation.mlflow import Mlflow
from serving.tracing.config import MlflowTarget, TracingConfig
from serving.tracing.trace import InferenceTrace, common_attributes

STARTED = dt.datetime.fromtimestamp(sent().started_ns / 1e9, dt.UTC)


def trace(number: int, *, customer: str = LABELS.customer, **changes: Any) -> InferenceTrace:
    """The trace of a request, a second after the one before it."""
    first = sent(number, replace(LABELS, customer=customer), **changes)
    later = number * 1_000_000_000
    return replace(
        first,
        started_ns=first.started_ns + later,
        first_byte_ns=None,
        ended_ns=first.ended_ns + later,
    )


@pytest.mark.local
async def test_the_real_mlflow_adds_up_each_customers_traces(mlflow_url: str) -> None:
    client = Mlflow(MlflowTraces(url=mlflow_url))
    names = ["customer-bank-A", "customer-securities-B", "customer-nobody"]
    found: dict[str | None, Amounts] = {}

    def ask(began: dt.datetime, ended: dt.datetime) -> dict[str | None, Amounts]:
        return client.traced(names, began, ended)

    async def arrived() -> None:
        # Those of nobody may be of customers that were asked for before their traces came.
        while sum(found[name].requests for name in names if name in found) < 7:
            await asyncio.sleep(0.3)
            try:
                found.update(await asyncio.to_thread(ask, STARTED, STARTED + dt.timedelta(hours=1)))
            except ReconciliationError:
                continue

    config = TracingConfig(target=MlflowTarget(url=mlflow_url))
    async with running_tracer(config) as (tracer, _), asyncio.timeout(60):
        for number in range(5):
            tracer.record(trace(number))
        tracer.record(trace(5, customer="customer-securities-B", input_tokens=100, output_tokens=9))
        # Requests whose tokens nobody knows have traces as well.
        unknown = {"input_tokens": None, "output_tokens": None}
        tracer.record(trace(6, customer="customer-securities-B", status=502, **unknown))
        await arrived()
    assert found == {
        "customer-bank-A": Amounts(5, 35, 15),
        "customer-securities-B": Amounts(2, 100, 9),
        "customer-nobody": Amounts(),
        None: Amounts(),
    }
    # Both ends are to the millisecond: the begin is included, the end is not.
    two = await asyncio.to_thread(
        ask, STARTED + dt.timedelta(seconds=1), STARTED + dt.timedelta(seconds=3)
    )
    assert two["customer-bank-A"] == Amounts(2, 14, 6)


async def test_a_name_that_could_change_the_question_is_refused() -> None:
    client = Mlflow(MlflowTraces(url="http://127.0.0.1:9"))
    client._experiment = lambda: "1"  # type: ignore[method-assign]
    with pytest.raises(ReconciliationError, match="with quotes or backslashes"):
        client.traced(["x' OR trace.tag.customer = 'y"], STARTED, STARTED)


class OtherMlflow:
    """Answers 200 to everything, and not as MLflow does."""

    def __init__(self, *bodies: Any) -> None:
        self.bodies = list(bodies)
        self.asked: list[Any] = []
        self.logins: set[str | None] = set()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.logins.add(request.headers.get("Authorization"))
        self.asked.append(await request.json() if request.can_read_body else None)
        return web.json_response(self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0])


EXPERIMENT = {"experiment": {"experiment_id": "1"}}


@pytest.mark.parametrize(
    "bodies",
    [
        ({},),
        ([],),
        (EXPERIMENT, {"data_points": [{"values": {}}]}),
        (EXPERIMENT, {"data_points": ["maintenance"]}),
        (EXPERIMENT, []),
    ],
)
async def test_an_answer_of_something_else_is_a_clear_error(bodies: tuple[Any, ...]) -> None:
    async with serving(OtherMlflow(*bodies).application()) as url:
        client = Mlflow(MlflowTraces(url=url))
        with pytest.raises(ReconciliationError, match=r"not an answer as MLflow \S+ documents it"):
            await asyncio.to_thread(client.traced, ["customer-bank-A"], STARTED, STARTED)


async def test_a_customer_whose_name_is_not_ascii_is_asked_for_as_its_traces_are_tagged() -> None:
    other = OtherMlflow(EXPERIMENT, {"data_points": []})
    async with serving(other.application()) as url:
        client = Mlflow(MlflowTraces(url=url))
        await asyncio.to_thread(client.traced, ["Müller"], STARTED, STARTED)
    labels = replace(LABELS, customer="Müller")
    tags = common_attributes(sent(1, labels), "off", "test", mlflow=True)
    expected = f"trace.tag.`customer` = '{tags['mlflow.traceTag.customer']}'"
    assert expected in other.asked[1]["filters"]


@pytest.mark.parametrize(
    ("environ", "login"),
    [
        ({}, None),
        (
            {"MLFLOW_TRACKING_USERNAME": "pipeline", "MLFLOW_TRACKING_PASSWORD": "right"},
            f"Basic {base64.b64encode(b'pipeline:right').decode()}",
        ),
    ],
)
async def test_it_logs_in_as_mlflows_own_client_would(
    environ: dict[str, str], login: str | None
) -> None:
    other = OtherMlflow(EXPERIMENT, {"data_points": []})
    async with serving(other.application()) as url:
        client = Mlflow(MlflowTraces(url=url), environ)
        await asyncio.to_thread(client.traced, ["customer-bank-A"], STARTED, STARTED)
    assert other.logins == {login}


async def test_an_mlflow_that_is_away_is_named() -> None:
    client = Mlflow(MlflowTraces(url="http://127.0.0.1:9"))
    with pytest.raises(ReconciliationError, match=r"http://127\.0\.0\.1:9/api"):
        client.traced(["customer-bank-A"], STARTED, STARTED)
