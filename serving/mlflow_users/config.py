"""Configuration of the job that makes MLflow's users."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from registry.documents import Document
from serving.tracing.config import ReceiverUrl, SecretSource

PREFIX: Final = "pipeline-"
"""Of the names of users that this job makes: it touches no others, such as people's."""
Permission = Literal["READ", "EDIT"]
"""READ sees runs and traces; EDIT adds and changes them. Neither deletes, or shares with others."""


class MlflowUser(Document):
    """One user, and the one experiment that it may see."""

    name: str = Field(pattern=rf"^{PREFIX}[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    password: SecretSource
    experiment: str = Field(min_length=1)
    permission: Permission


class MlflowUsersConfig(Document):
    """Where MLflow is, who administers it, and whom it is to know."""

    url: ReceiverUrl
    admin_username: SecretSource
    admin_password: SecretSource
    users: tuple[MlflowUser, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [user.name for user in self.users]
        if len(set(names)) != len(names):
            raise ValueError(f"users {', '.join(names)}: each name once")
        return self
