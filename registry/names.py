"""Names with rules: domains, versions, pools and served model names."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import PlainSerializer, PlainValidator, StringConstraints

from registry.errors import RegistryError

# A DNS label (RFC 1123), short enough for `<domain>-v<X>.<Y>` and the Kubernetes names built
# from it to fit 63 characters.
DOMAIN_PATTERN = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"

DomainName = Annotated[str, StringConstraints(pattern=DOMAIN_PATTERN)]
HeaderAlias = DomainName
"""A further value of X-Customer-Domain; the same rule, so that any name can become one."""
PoolName = Literal["slm", "llm"]
Reviewer = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]{0,63}$", strip_whitespace=True)
]
"""An expert's name: lower case and ASCII, so that no one counts twice under two spellings."""
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]
"""A value of `model` in a request: a pool, a base model or an alias of one."""

_VERSION = re.compile(r"v(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")


@dataclass(frozen=True, order=True)
class Version:
    """A release version `vX.Y`, ordered by its numbers (v1.10 is newer than v1.9)."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `vX.Y`.

        Raises:
            RegistryError: The text is not of that form.
        """
        match = _VERSION.fullmatch(text)
        if match is None:
            raise RegistryError(f"version {text!r} is not of the form vX.Y, for example v1.2")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}"


def _to_version(value: object) -> Version:
    if isinstance(value, Version):
        return value
    try:
        return Version.parse(str(value))
    except RegistryError as error:
        raise ValueError(str(error)) from error


VersionField = Annotated[Version, PlainValidator(_to_version), PlainSerializer(str)]


def served_name(domain: str, version: Version) -> str:
    """The immutable name under which every pool serves a release, such as `bank-ledger-v1.2`."""
    return f"{domain}-{version}"


def parse_served_name(name: str) -> tuple[str, Version] | None:
    """Split a served name into domain and version; None when it is not one."""
    domain, separator, version = name.rpartition("-")
    if not separator or not re.match(DOMAIN_PATTERN, domain) or not _VERSION.fullmatch(version):
        return None
    return domain, Version.parse(version)
