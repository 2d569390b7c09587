"""Configuration of the local edge: one file for the control plane and for Envoy."""

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


class ConfigError(Exception):
    """The configuration cannot be used; the message names file, key, value and fix."""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Address(_Model):
    """An IPv4 address and a TCP port."""

    host: IPv4Address = IPv4Address("127.0.0.1")
    port: int = Field(ge=1, le=65535)


class EdgeConfig(_Model):
    """Where the edge finds its parts and where it listens."""

    environment: str = Field(min_length=1)
    routes_dir: AbsolutePath
    """Folder of the HTTPRoute objects, one `<domain>.yaml` a domain."""
    xds_dir: AbsolutePath
    """Folder that the control plane fills for Envoy."""
    egctl: AbsolutePath
    envoy: AbsolutePath
    listen: Address
    router: Address
    """Where the router really listens; routes name its Service."""
    admin: Address
    """Envoy's own port: `/ready`, `/stats`."""
    namespace: str = "pipeline"
    gateway: str = "edge"
    service: str = "router"
    service_port: int = Field(ge=1, le=65535)
    """The port of the router's Service that routes name."""
    interval_s: float = Field(default=0.5, gt=0, le=60)
    """How often the folder of routes is looked at."""
    stream_idle_s: int = Field(default=900, ge=1)
    """A stream in which nothing moves for this long is closed."""


def read_config(path: Path) -> EdgeConfig:
    """Read the configuration file.

    Raises:
        ConfigError: when it is missing, is not JSON, or has a wrong or unknown key.
    """
    try:
        return EdgeConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{path}: {key}: {first['msg']} (found {first['input']!r})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON in UTF-8: {error}") from error
