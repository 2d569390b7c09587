"""One service or job, described once as data; a substrate renders it.

No pulumi here: the same description becomes a supervised process on one machine and a Deployment
or Job on Kubernetes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Health:
    """When a service counts as started: an HTTP GET answers 2xx."""

    port: str
    """Name of the port."""
    path: str
    timeout_s: float
    """How long starting may take, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process that runs until it is removed, and is restarted when it ends."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Configuration files, name to content; `Substrate.file` says where the command finds them."""
    ports: Mapping[str, int] = field(default_factory=dict)
    health: Health | None = None
    stop_timeout_s: int = 10


@dataclass(frozen=True, kw_only=True)
class Job:
    """A process that runs once to its end."""

    name: str
    image: str
    """The Python environment that runs it, such as `train`."""
    role: str
    """What it may do, such as `publish`: on Kubernetes the ServiceAccount that it runs under."""
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    """URIs of what must be on its disk first; `Substrate.input` says where the command finds it."""
    accelerated: bool = False
    """Whether it uses the GPUs of a training node, where there are any."""
    attempt: int = 0
    """A change runs the job again; nothing else does."""
    wait_s: float | None = None
    """Wait this long for the end; None submits the job and goes on."""
    stop_timeout_s: int = 60
    """How long the job may take to save its work when it is stopped, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """An object that a control loop reads: a route, a tenancy record."""

    name: str
    path: str
    """Where it lies below the environment's directory."""
    content: Any
    """Text, or an output of another resource that becomes text."""
