"""JSON documents of the registry: typed, strict, and with one canonical form for digests."""

import hashlib
import json
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from registry.errors import RegistryError
from registry.store import ObjectStore


class Document(BaseModel):
    """Base of everything the registry stores as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnyDocument = TypeVar("AnyDocument", bound=Document)


def encode(document: Document) -> bytes:
    """The stored form: indented for people, keys in model order, newline at the end."""
    return (document.model_dump_json(indent=2) + "\n").encode()


def read(store: ObjectStore, key: str, model: type[AnyDocument]) -> tuple[AnyDocument, str]:
    """Read a document and its etag.

    Raises:
        NotFoundError: There is none.
        RegistryError: It is not of the model; the message names key and field.
    """
    stored = store.get(key)
    return decode(stored.data, model, key), stored.etag


def decode(
    data: bytes,
    model: type[AnyDocument],
    place: str,
    *,
    extra: Literal["ignore"] | None = None,
) -> AnyDocument:
    """Parse a document.

    Args:
        data: Its JSON.
        model: What it is.
        place: What an error names.
        extra: What becomes of unknown keys; None: they are refused.

    Raises:
        RegistryError: It is not of the model.
    """
    try:
        return model.model_validate_json(data, extra=extra)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise RegistryError(f"{place}: {field}: {first['msg']}") from error


def digest(value: Any) -> str:
    """`sha256:<hex>` of a JSON value in canonical form (sorted keys, no spaces, UTF-8)."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"


def canonical(value: Any) -> bytes:
    """The canonical form that is hashed and signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
