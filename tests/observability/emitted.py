"""Which metrics exist, with their labels: read from those that emit them."""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from stacks.paths import ROOT

Kind = Literal["counter", "gauge", "histogram"]

TARGET_LABELS = frozenset({"namespace", "pod", "instance"})
"""Prometheus adds these to what it scrapes in a cluster."""

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? \S+")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="')
_TYPE = re.compile(r"# TYPE (\S+) (counter|gauge|histogram)")


@dataclass(frozen=True)
class Emitted:
    """One series name."""

    kind: Kind
    labels: frozenset[str]


@cache
def processes() -> Mapping[str, Emitted]:
    """Router, adapter-sync and exporter: their own text, printed in their own environment."""
    text = subprocess.run(
        [ROOT / ".venv-serving/bin/python", "-m", "tests.observability.print_exposition"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, Emitted] = {}
    kind: Kind = "gauge"
    for line in text.splitlines():
        declared = _TYPE.match(line)
        if declared:
            kind = declared[2]  # type: ignore[assignment]  the pattern has these three
        sample = _SAMPLE.fullmatch(line)
        # prometheus_client adds the creation time of each counter as a gauge of its own.
        if sample and not sample["name"].endswith("_created"):
            labels = frozenset(_LABEL.findall(sample["labels"] or ""))
            found[sample["name"]] = Emitted(kind, labels)
    return found


@cache
def vllm() -> Mapping[str, Emitted]:
    """The model server: read from the source of the installed package, without running it."""
    source = next((ROOT / ".venv-vllm").glob("lib/*/site-packages/vllm/v1/metrics/loggers.py"))
    found: dict[str, Emitted] = {}
    for call in ast.walk(ast.parse(source.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            kind = re.fullmatch(r"_(counter|gauge|histogram)_cls", call.func.attr)
            if kind:
                found.update(_series(kind[1], call))
    return found


def _series(kind: str, call: ast.Call) -> Iterator[tuple[str, Emitted]]:
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    name = arguments.get("name")
    if not isinstance(name, ast.Constant):
        return
    labels = (
        frozenset(_label_names(arguments["labelnames"]))
        if "labelnames" in arguments
        else (frozenset())
    )
    if kind == "counter":
        yield f"{str(name.value).removesuffix('_total')}_total", Emitted("counter", labels)
    elif kind == "gauge":
        yield str(name.value), Emitted("gauge", labels)
    else:
        yield f"{name.value}_bucket", Emitted("histogram", labels | {"le"})
        yield f"{name.value}_sum", Emitted("histogram", labels)
        yield f"{name.value}_count", Emitted("histogram", labels)


def _label_names(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant):
            yield str(node.value)
        elif isinstance(node, ast.Name) and node.id == "labelnames":
            yield from ("model_name", "engine")
        elif isinstance(node, ast.Attribute):
            yield node.attr.removeprefix("labelname_")


KUBE_STATE_METRICS: Mapping[str, Emitted] = {
    "kube_cronjob_status_last_schedule_time": Emitted("gauge", frozenset({"namespace", "cronjob"})),
    "kube_cronjob_status_last_successful_time": Emitted(
        "gauge", frozenset({"namespace", "cronjob"})
    ),
    "kube_pod_status_unschedulable": Emitted("gauge", frozenset({"namespace", "pod", "uid"})),
    "kube_pod_container_resource_requests": Emitted(
        "gauge", frozenset({"namespace", "pod", "uid", "container", "resource", "unit", "node"})
    ),
}
"""By hand, from docs/metrics/workload of kube-state-metrics: all STABLE there."""


def everything() -> Mapping[str, Emitted]:
    """All of them."""
    return {**processes(), **vllm(), **KUBE_STATE_METRICS}
