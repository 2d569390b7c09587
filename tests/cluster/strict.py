"""Applies objects strictly, in an order that a server can take, and says which it refuses."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.cluster.client import ApiError, Client, Object, has_condition, name_of

_DEFINITION = "CustomResourceDefinition"
_ESTABLISHED_S = 30


@dataclass(frozen=True)
class Refusal:
    """An object that the API server did not take, or warned of."""

    object: str
    """Kind, namespace and name."""
    reason: str
    """The server's words."""


def apply_strict(
    client: Client, objects: Iterable[Object], *, dry_run: bool = False
) -> list[Refusal]:
    """Apply objects; return every refusal, and every warning as one.

    A refusal holds nothing else back, so one call tells all.

    Args:
        client: To the API server.
        objects: In any order.
        dry_run: Store namespaces and kinds alone, and have the server judge the rest.
    """
    # A server knows a kind, and has a namespace, before it takes what is of it or in it.
    first: list[Object] = []
    rest: list[Object] = []
    for thing in objects:
        (first if thing["kind"] in {"Namespace", _DEFINITION} else rest).append(thing)
    refusals = _apply_all(client, first)
    refused = {each.object for each in refusals}
    for thing in first:
        if thing["kind"] == _DEFINITION and name_of(thing) not in refused:
            client.wait(thing, lambda found: has_condition(found, "Established"), _ESTABLISHED_S)
    return refusals + _apply_all(client, rest, dry_run=dry_run)


def _apply_all(
    client: Client, objects: Iterable[Object], *, dry_run: bool = False
) -> list[Refusal]:
    refusals = []
    for thing in objects:
        try:
            reasons = client.warnings(thing, dry_run=dry_run)
        except ApiError as error:
            reasons = [str(error)]
        refusals += [Refusal(name_of(thing), reason) for reason in reasons]
    return refusals
