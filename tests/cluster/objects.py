"""Objects as a provider would send them, from what a program declared to the mocks."""

from typing import Any

from pulumi.runtime import rpc

from tests.cluster.client import Object
from tests.components.declared import Program
from tests.stacks import graph_rules

_PATCH = "Patch"


def objects_of(program: Program) -> list[Object]:
    """Every single object that a program declares, with a name where Kubernetes would choose one.

    Charts are left out: their objects are known where a chart is rendered.
    """
    found = []
    for each in graph_rules.objects(program):
        if each.type.endswith(_PATCH):
            continue
        thing = plain(dict(each.inputs))
        _, _, name = graph_rules.identity(each)
        thing["metadata"].setdefault("name", name)
        found.append(thing)
    return found


def plain(value: Any) -> Any:
    """Return a value without Pulumi's marks: secrets opened, whole numbers whole again."""
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return plain(value["value"])
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, float) and value == int(value):
        return int(value)
    return value
