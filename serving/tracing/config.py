"""Configuration of the traces."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from registry.documents import Document
from serving.settings import HttpUrl, SettingsError

# What Langfuse accepts as an environment; MLflow takes anything.
_ENVIRONMENT = re.compile(r"(?!langfuse)[a-z0-9_-]{1,40}")


def _without_credentials(url: str) -> str:
    if "@" in urlsplit(url).netloc:
        raise ValueError("holds a user or password: name a variable or a file for them instead")
    return url


def _environment_name(name: str) -> str:
    if not _ENVIRONMENT.fullmatch(name):
        raise ValueError(
            f"{name!r} is not an environment's name: 1 to 40 of a-z, 0-9, - and _, and "
            "not `langfuse` at its start"
        )
    return name


ReceiverUrl = Annotated[HttpUrl, AfterValidator(_without_credentials)]


class SecretSource(Document):
    """Where a secret is read from when the process starts; no configuration holds one itself."""

    env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """An environment variable."""
    file: Path | None = None
    """A file, such as a mounted Kubernetes secret; a newline at its end is not part of it."""

    @model_validator(mode="after")
    def _names_one_place(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("name either `env` or `file`")
        if self.file is not None and not self.file.is_absolute():
            raise ValueError(f"path {str(self.file)!r} is not absolute")
        return self

    def read(self) -> str:
        """The secret.

        Raises:
            SettingsError: It is not there, empty, or not printable ASCII. The message names the
                place, never the value.
        """
        value = self._value().strip()
        place = f"variable {self.env}" if self.file is None else f"file {self.file}"
        if not value:
            raise SettingsError(f"secret in {place}: there is none: put it there")
        if not (value.isascii() and value.isprintable()):
            raise SettingsError(f"secret in {place}: has characters other than printable ASCII")
        return value

    def _value(self) -> str:
        if self.file is None:
            return os.environ.get(self.env or "", "")
        try:
            return self.file.read_bytes().decode(errors="replace")
        except OSError as error:
            raise SettingsError(f"secret in file {self.file}: {error.strerror}") from error


class MlflowTarget(Document):
    """An MLflow server: traces go to an experiment, which is created where it is missing."""

    kind: Literal["mlflow"] = "mlflow"
    url: ReceiverUrl
    experiment: str = Field(default="inference", min_length=1)
    username: SecretSource | None = None
    """None, as the password, for a server that asks for neither."""
    password: SecretSource | None = None

    @model_validator(mode="after")
    def _has_both_or_neither(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("name both `username` and `password`, or neither")
        return self


class LangfuseTarget(Document):
    """A project in Langfuse; its API keys name it."""

    kind: Literal["langfuse"] = "langfuse"
    url: ReceiverUrl
    """The server, such as `http://langfuse-web.langfuse.svc:3000`."""
    public_key: SecretSource
    secret_key: SecretSource


class OtlpTarget(Document):
    """Any other receiver of OTLP over HTTP, such as an OpenTelemetry Collector."""

    kind: Literal["otlp"] = "otlp"
    endpoint: ReceiverUrl
    """Such as `http://127.0.0.1:4318/v1/traces`."""


Target = Annotated[MlflowTarget | LangfuseTarget | OtlpTarget, Field(discriminator="kind")]


class TracingConfig(Document):
    """Where traces go, and what of them may wait."""

    target: Target
    environment: Annotated[str, AfterValidator(_environment_name)] = "local"
    queue: int = Field(default=4096, ge=1)
    """Traces that may wait; more are dropped and counted."""
    queue_content_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Prompts and answers that may wait, together; more are dropped with their traces."""
    timeout_s: float = Field(default=10, gt=0)
    """Time that the receiver has for one answer."""
    retry_for_s: float = Field(default=300, ge=0)
    """How long a batch is sent again to a receiver that is away or overloaded."""
    hash_key: SecretSource | None = None
    """Key of the hashes that stand for hashed content. Without one, each router makes its own at
    start, and equal prompts have equal hashes only until it ends."""
