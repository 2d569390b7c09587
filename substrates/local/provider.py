"""Pulumi provider of the local substrate: `pulumi-resource-pipeline`.

Process, Job and Document are thin layers over `Workloads` or a file; DomainKey and Password are
random values, on clusters as well.
The engine starts this program; it never runs inside the Pulumi program.
"""

import asyncio
import hashlib
import os
import secrets
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckRequest,
    CheckResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    PropertyDiff,
    PropertyDiffKind,
    Provider,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
    UpdateResponse,
)
from pulumi.provider.experimental.server import main as serve

from substrates.local.properties import is_computed, to_plain, to_values
from substrates.local.workloads import Spec, WorkloadError, Workloads

VERSION = "0.1.0"

Values = dict[str, PropertyValue]
Plain = dict[str, Any]


class LocalProvider(Provider):
    """Dispatches to one handler per resource type; blocking work runs in threads."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {
            "pipeline:local:Process": ProcessHandler(),
            "pipeline:local:Job": JobHandler(),
            "pipeline:local:Document": DocumentHandler(),
            "pipeline:local:DomainKey": DomainKeyHandler(),
            "pipeline:local:Password": PasswordHandler(),
        }

    def _handler(self, qualified_type: str) -> "Handler":
        """A resource below a component has the types of its parents before its own."""
        return self._handlers[qualified_type.rpartition("$")[2]]

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Accept the inputs: the program's own types have checked them."""
        return CheckResponse(inputs=request.new_inputs)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Compare the last known state with the wanted inputs."""
        handler = self._handler(request.type)
        old = to_plain(request.old_state)
        changed = [
            key
            for key, value in request.new_inputs.items()
            if key in handler.compared
            and (is_computed(value) or to_plain({key: value})[key] != old.get(key))
        ]
        changed += handler.drift(old)
        replaced = [key for key in changed if key in handler.replaced]
        kinds = PropertyDiffKind
        return DiffResponse(
            changes=bool(changed),
            replaces=replaced,
            diffs=changed,
            delete_before_replace=True,
            detailed_diff={
                key: PropertyDiff(
                    kinds.UPDATE_REPLACE if key in replaced else kinds.UPDATE,
                    input_diff=key in request.new_inputs,
                )
                for key in changed
            },
        )

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Create; in a preview, only echo the inputs."""
        handler = self._handler(request.type)
        if request.preview:
            return CreateResponse(resource_id="", properties=request.properties)
        inputs = to_plain(request.properties)
        outputs = await asyncio.to_thread(handler.create, inputs)
        return CreateResponse(
            resource_id=handler.identity(inputs),
            properties=to_values({**inputs, **outputs}, like=request.properties),
        )

    async def read(self, request: ReadRequest) -> ReadResponse:
        """Look at what is there; an empty id tells the engine that it is gone."""
        handler = self._handler(request.type)
        state = to_plain(request.properties)
        found = await asyncio.to_thread(handler.read, state)
        if found is None:
            return ReadResponse(resource_id="")
        inputs = {key: found.get(key, value) for key, value in to_plain(request.inputs).items()}
        return ReadResponse(
            resource_id=request.resource_id,
            properties=to_values({**state, **found}, like=request.properties),
            inputs=to_values(inputs, like=request.inputs),
        )

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        """Bring the resource to the new inputs."""
        handler = self._handler(request.type)
        if request.preview:
            return UpdateResponse(properties={**request.olds, **request.news})
        inputs = to_plain(request.news)
        outputs = await asyncio.to_thread(handler.update, inputs)
        return UpdateResponse(properties=to_values({**inputs, **outputs}, like=request.news))

    async def delete(self, request: DeleteRequest) -> None:
        """Remove the resource."""
        await asyncio.to_thread(self._handler(request.type).delete, to_plain(request.properties))


class Handler(ABC):
    """One resource type."""

    compared: frozenset[str] = frozenset()
    """Inputs whose change is a change of the resource."""
    replaced: frozenset[str] = frozenset()
    """Those of them that need a new resource."""

    @abstractmethod
    def identity(self, inputs: Plain) -> str:
        """The resource's id."""

    @abstractmethod
    def create(self, inputs: Plain) -> Plain:
        """Create it and return the outputs beside the inputs."""

    def update(self, inputs: Plain) -> Plain:
        """Update it; by default as `create`."""
        return self.create(inputs)

    @abstractmethod
    def read(self, state: Plain) -> Plain | None:
        """Properties as they are now; None when it is gone."""

    @abstractmethod
    def delete(self, state: Plain) -> None:
        """Remove it. No error when it is gone."""

    def drift(self, state: Plain) -> list[str]:
        """State properties that show that the resource is not as it should be."""
        del state
        return []


_SPEC_INPUTS = frozenset(
    {"command", "cwd", "environment", "files", "ports", "health_url", "stop_timeout_s"}
)


class ProcessHandler(Handler):
    """A supervised service."""

    compared = _SPEC_INPUTS | {"name", "home"}
    replaced = frozenset({"name", "home"})

    def identity(self, inputs: Plain) -> str:
        """Its name."""
        return str(inputs["name"])

    def create(self, inputs: Plain) -> Plain:
        """Start it and wait until it is healthy."""
        workloads = _workloads(inputs)
        workloads.start_service(_spec(inputs, job=False))
        return workloads.service_state(inputs["name"])

    def read(self, state: Plain) -> Plain | None:
        """The spec on disk and the state of its process."""
        workloads = _workloads(state)
        spec = workloads.read_spec(state["name"])
        if spec is None:
            return None
        found = {key: spec[key] for key in _SPEC_INPUTS if key in spec}
        return {**found, **workloads.service_state(state["name"])}

    def delete(self, state: Plain) -> None:
        """Stop it and remove its files."""
        _workloads(state).remove(state["name"])

    def drift(self, state: Plain) -> list[str]:
        """A stopped service."""
        return [] if state.get("status") == "running" else ["status"]


class JobHandler(Handler):
    """A supervised job. Only another attempt runs it again: its name says what it depends on."""

    compared = frozenset({"attempt", "name", "home"})
    replaced = compared

    def identity(self, inputs: Plain) -> str:
        """Its name."""
        return str(inputs["name"])

    def create(self, inputs: Plain) -> Plain:
        """Submit it, or run it to its end when `wait_s` is set."""
        wait_s = inputs.get("wait_s")
        workloads = _workloads(inputs)
        workloads.start_job(_spec(inputs, job=True), wait_s=wait_s)
        return {"status": workloads.job_state(inputs["name"])}

    def read(self, state: Plain) -> Plain | None:
        """Its state; a job that is neither running nor done is gone, so `up` runs it again."""
        status = _workloads(state).job_state(state["name"])
        return {"status": status} if status in {"running", "succeeded"} else None

    def delete(self, state: Plain) -> None:
        """Stop it and remove its files; results are in the registry."""
        _workloads(state).remove(state["name"])


class DocumentHandler(Handler):
    """A file that a control loop watches."""

    compared = frozenset({"path", "content", "home"})
    replaced = frozenset({"path", "home"})

    def identity(self, inputs: Plain) -> str:
        """Its path."""
        return str(inputs["path"])

    def create(self, inputs: Plain) -> Plain:
        """Write it whole."""
        path = self._path(inputs)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.touch(mode=0o600)
        with temporary.open("w") as stream:
            stream.write(inputs["content"])
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        return {}

    def read(self, state: Plain) -> Plain | None:
        """Its content."""
        try:
            return {"content": self._path(state).read_text()}
        except OSError:
            return None

    def delete(self, state: Plain) -> None:
        """Remove it."""
        self._path(state).unlink(missing_ok=True)

    @staticmethod
    def _path(values: Plain) -> Path:
        home = Path(values["home"])
        path = home / str(values["path"])
        if not path.resolve().is_relative_to(home.resolve()):
            raise WorkloadError(f"document path {values['path']!r} leaves {home}")
        return path


class DomainKeyHandler(Handler):
    """A random key of one domain. It lives in the stack's state only, encrypted there."""

    compared = frozenset({"domain", "serial"})
    replaced = compared

    def identity(self, inputs: Plain) -> str:
        """The domain and the serial of the key."""
        return f"{inputs['domain']}-{inputs['serial']}"

    def create(self, inputs: Plain) -> Plain:
        """Make a key of 256 random bits and its digest."""
        key = f"cmp_{inputs['domain']}_{secrets.token_urlsafe(32)}"
        return {"key": key, "key_hash": f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"}

    def read(self, state: Plain) -> Plain | None:
        """Nothing outside the state to look at."""
        return state

    def delete(self, state: Plain) -> None:
        """Nothing outside the state to remove."""


class PasswordHandler(Handler):
    """A random password of one user. It lives in the stack's state only, encrypted there."""

    compared = frozenset({"user", "serial"})
    replaced = compared

    def identity(self, inputs: Plain) -> str:
        """The user and the serial of the password."""
        return f"{inputs['user']}-{inputs['serial']}"

    def create(self, inputs: Plain) -> Plain:
        """Make a password of 256 random bits."""
        del inputs
        return {"password": secrets.token_urlsafe(32)}

    def read(self, state: Plain) -> Plain | None:
        """Nothing outside the state to look at."""
        return state

    def delete(self, state: Plain) -> None:
        """Nothing outside the state to remove."""


def _workloads(values: Plain) -> Workloads:
    return Workloads(Path(values["home"]))


def _spec(inputs: Plain, *, job: bool) -> Spec:
    return Spec(
        name=inputs["name"],
        job=job,
        command=list(inputs["command"]),
        cwd=inputs["cwd"],
        environment=dict(inputs.get("environment") or {}),
        files=dict(inputs.get("files") or {}),
        ports={name: int(port) for name, port in (inputs.get("ports") or {}).items()},
        health_url=inputs.get("health_url") or "",
        health_timeout_s=float(inputs.get("health_timeout_s") or 0),
        stop_timeout_s=int(inputs["stop_timeout_s"]),
    )


def main() -> None:
    """Serve the provider to the engine whose address is the first argument."""
    serve(sys.argv[1:], VERSION, LocalProvider())
