"""The provider's resources as the Pulumi program declares them."""

from collections.abc import Mapping
from typing import Any

import pulumi


class Process(pulumi.CustomResource):
    """A supervised process.

    Outputs: `status` (running, stopped), `pid`, `started_at` (seconds since 1970).
    """

    def __init__(
        self, name: str, args: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        outputs = {"status": None, "pid": None, "started_at": None}
        super().__init__("pipeline:local:Process", name, {**args, **outputs}, opts)


class Job(pulumi.CustomResource):
    """A job that runs once. Output: `status` when it was submitted."""

    def __init__(
        self, name: str, args: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("pipeline:local:Job", name, {**args, "status": None}, opts)


class Document(pulumi.CustomResource):
    """A file that a control loop watches."""

    def __init__(
        self, name: str, args: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("pipeline:local:Document", name, dict(args), opts)


class DomainKey(pulumi.CustomResource):
    """A random key of one domain."""

    key: pulumi.Output[str]
    """The key itself, a secret."""
    key_hash: pulumi.Output[str]
    """`sha256:<hex>` of the key, which may be at rest anywhere."""

    def __init__(
        self, name: str, *, domain: str, serial: int, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the key; a new serial makes a new one."""
        super().__init__(
            "pipeline:local:DomainKey",
            name,
            {"domain": domain, "serial": serial, "key": None, "key_hash": None},
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(additional_secret_outputs=["key"])
            ),
        )


class Password(pulumi.CustomResource):
    """A random password of one user of a service."""

    password: pulumi.Output[str]
    """A secret: 43 characters of the URL-safe Base64 alphabet."""

    def __init__(
        self, name: str, *, user: str, serial: int, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the password; a new serial makes a new one."""
        super().__init__(
            "pipeline:local:Password",
            name,
            {"user": user, "serial": serial, "password": None},
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(additional_secret_outputs=["password"])
            ),
        )
