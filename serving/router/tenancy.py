"""Who is asking: a key belongs to one domain, a domain to one customer. No I/O."""

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from registry.documents import Document
from registry.names import DomainName, HeaderAlias, PoolName
from serving.router.errors import Refusal

KeyHash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
ContentCapture = Literal["off", "hashed", "on"]
AnsweredBy = Literal["release", "base-until-release", "base"]
"""What answers for a domain.

`release`: the live release; without one, nothing. `base-until-release`: the base models of its
pools before a first release is live, and the live release from then on. `base`: the base models,
whatever the registry says of the domain; so the record decides, and a domain goes back to base
models by its stack alone.
"""

_MAX_SHOWN = 80


class Routing(Document):
    """How the domain's requests reach a pool: `direct` sends them where the model name says."""

    mode: Literal["direct"] = "direct"


class TenancyRecord(Document):
    """One domain as its stack declares it."""

    schema_version: Literal[1] = Field(alias="schema")
    domain: DomainName
    customer: str = Field(min_length=1, max_length=200)
    header_aliases: tuple[HeaderAlias, ...] = ()
    key_hashes: tuple[KeyHash, ...]
    """sha256 of every key that is valid now; several while a key is rotated."""
    pools: tuple[PoolName, ...] = Field(min_length=1)
    routing: Routing = Routing()
    content_capture: ContentCapture = "off"
    answered_by: AnsweredBy = "release"
    """A record without it needs a release."""


@dataclass(frozen=True)
class Caller:
    """An authenticated request's domain."""

    tenant: TenancyRecord
    domain_header: str | None
    """What X-Customer-Domain said; None when the key alone decided."""


class TenantDirectory:
    """An immutable snapshot of every domain.

    A key, name or alias that two records claim belongs to neither: which tenant is meant is never
    guessed. Keys are found by a keyed hash of their digest, so that the time of a look-up says
    nothing about stored digests, and the full digest is compared in constant time.
    """

    def __init__(self, records: Iterable[TenancyRecord]) -> None:
        tenants = list(records)
        self._secret = secrets.token_bytes(32)
        self.conflicts = _conflicts(tenants)
        aliases = {alias: tenant for tenant in tenants for alias in tenant.header_aliases}
        own = {tenant.domain: tenant for tenant in tenants}
        self._names = {
            name: tenant for name, tenant in (aliases | own).items() if name not in self.conflicts
        }
        self._keys = {
            self._slot(digest): (digest, tenant)
            for tenant in tenants
            for digest in _digests(tenant)
            if f"sha256:{digest.hex()}" not in self.conflicts
        }
        self.tenants = tuple(t for t in tenants if t.domain not in self.conflicts)

    def by_key(self, key: str) -> TenancyRecord | None:
        """The domain that a bearer key belongs to."""
        # Header bytes that are not UTF-8 arrive as surrogates: they are some key, just nobody's.
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
        stored, tenant = self._keys.get(self._slot(digest), (b"", None))
        return tenant if hmac.compare_digest(stored, digest) else None

    def by_name(self, name: str) -> TenancyRecord | None:
        """The domain of a name or header alias."""
        return self._names.get(name)

    def _slot(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()


def authorize(
    directory: TenantDirectory, *, authorization: str | None, domain_headers: list[str]
) -> Caller | Refusal:
    """Find the caller's domain from the bearer key, and hold X-Customer-Domain against it."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        return _unauthenticated("no API key: send `Authorization: Bearer <domain key>`")
    tenant = directory.by_key(key.strip())
    if tenant is None:
        return _unauthenticated("the API key is not valid")
    values = {value.strip() for value in domain_headers}
    if not values:
        return Caller(tenant, None)
    if len(values) > 1:
        return Refusal(
            400,
            "ambiguous_domain",
            "X-Customer-Domain is given more than once with different values: send it once",
            "X-Customer-Domain",
        )
    return _check_header(directory, tenant, values.pop())


def _check_header(
    directory: TenantDirectory, tenant: TenancyRecord, value: str
) -> Caller | Refusal:
    named = directory.by_name(value)
    if named is None:
        return Refusal(
            404,
            "domain_not_found",
            f"X-Customer-Domain {value[:_MAX_SHOWN]!r} is not a domain here",
            "X-Customer-Domain",
        )
    if named.domain != tenant.domain:
        return Refusal(
            403,
            "foreign_domain",
            f"the API key is not for domain {value[:_MAX_SHOWN]!r}: use that domain's own key, "
            "or leave X-Customer-Domain out",
            "X-Customer-Domain",
        )
    return Caller(tenant, value)


def _unauthenticated(message: str) -> Refusal:
    return Refusal(401, "invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})


def _digests(tenant: TenancyRecord) -> set[bytes]:
    return {bytes.fromhex(value.removeprefix("sha256:")) for value in tenant.key_hashes}


def _conflicts(tenants: list[TenancyRecord]) -> frozenset[str]:
    """Names, aliases and key hashes that more than one record claims.

    A domain's own name is its own, whoever claims it as an alias.
    """
    claims: Counter[str] = Counter()
    for tenant in tenants:
        claims.update({tenant.domain, *tenant.header_aliases, *tenant.key_hashes})
    own = Counter(tenant.domain for tenant in tenants)
    return frozenset(claim for claim, count in claims.items() if count > 1 and own[claim] != 1)
