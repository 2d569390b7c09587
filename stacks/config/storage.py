"""Configuration of registry, data, warehouse and the key that verdicts are signed with."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from registry.errors import RegistryError
from registry.names import Reviewer
from registry.signing import load_public_key
from stacks.config.aws import RoleArn
from stacks.config.base import Config, written_as

BucketUri = Annotated[
    str,
    written_as(
        r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9][A-Za-z0-9._=-]*)*",
        "s3://bucket or s3://bucket/prefix, without a slash at the end",
    ),
]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class People(Config):
    """Roles of people and CI that may do by hand what no job does."""

    approvers: dict[Reviewer, RoleArn] = Field(
        default_factory=dict,
        description="reviewers by name, each with the role that may assume the one that records "
        "their decisions; two names with one role would be one person",
    )
    releasers: tuple[RoleArn, ...] = Field(
        (), description="may assume the role that moves pointers: rollback, lifting a hold"
    )
    break_glass: RoleArn = Field(
        description="the one role that may delete versions and change the settings of the "
        "guarded buckets; an `up` that changes them runs under it"
    )

    @field_validator("approvers")
    @classmethod
    def _one_role_each(cls, approvers: dict[str, str]) -> dict[str, str]:
        owners: dict[str, str] = {}
        for reviewer, role in approvers.items():
            if role in owners:
                raise ValueError(
                    f"{reviewer} and {owners[role]} have the same role {role}: whoever has it "
                    "could decide as both; give each a role of their own"
                )
            owners[role] = reviewer
        return approvers


class BucketStorage(Config):
    """Buckets, keys and roles of the environment's own, in its AWS account."""

    kind: Literal["buckets"]
    people: People
    superseded_days: int = Field(
        30, ge=7, le=3650, description="how long overwritten versions of mutable objects are kept"
    )
    access_log_days: int = Field(
        400, ge=30, le=3650, description="how long the logs of who read and wrote are kept"
    )
    trace_days: int | None = Field(
        None, ge=3, le=3650, description="how long Langfuse's events are kept; None: for ever"
    )


class Verdicts(Config):
    """The key pair that verdicts are signed and verified with, where no KMS holds it."""

    public_key: str = Field(description="PEM of the public key (ed25519 or ECDSA P-256)")
    secret: SecretName = Field(
        "evaluation-key",
        description="Secret of the training namespace; its key evaluation.pem is the private key",
    )

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, pem: str) -> str:
        try:
            load_public_key(pem.encode(), "public_key")
        except RegistryError as error:
            raise ValueError(str(error)) from error
        return pem


class ExistingStorage(Config):
    """Buckets of a store that exists already; who may do what there is for its owner to say."""

    kind: Literal["existing"]
    registry_uri: BucketUri = Field(description="adapters, runs, approvals")
    warehouse_uri: BucketUri = Field(description="usage, day parts, closed months, notes")
    artifacts_uri: BucketUri = Field(description="MLflow's artifacts")
    models_uri: BucketUri = Field(description="weights of base models")
    datasets_uri: BucketUri = Field(description="reviewed pairs, a folder for each domain")
    traces_uri: BucketUri | None = Field(
        None, description="Langfuse's events and exports; needed when Langfuse is on"
    )
    verdicts: Verdicts

    @model_validator(mode="after")
    def _apart(self) -> Self:
        taken: dict[str, str] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if not key.endswith("_uri") or value is None:
                continue
            for other, name in taken.items():
                if f"{value}/".startswith(f"{other}/") or f"{other}/".startswith(f"{value}/"):
                    raise ValueError(
                        f"{key} {value} and {name} {other} overlap: give each a bucket, or a "
                        "prefix, of its own"
                    )
            taken[value] = key
        return self


StorageConfig = Annotated[BucketStorage | ExistingStorage, Field(discriminator="kind")]
