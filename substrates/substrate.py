"""What a substrate can do with a workload."""

from typing import Protocol

import pulumi

from substrates.workload import Document, Job, Service


class Substrate(Protocol):
    """Renders workloads as resources of one kind of environment."""

    def service(self, service: Service, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A service that runs until it is removed."""

    def job(self, job: Job, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A job that runs once."""

    def document(self, document: Document, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """An object that a control loop reads."""

    def python(self, image: str) -> str:
        """The interpreter of an image's environment, such as `serving`."""

    def program(self, image: str, name: str) -> str:
        """A program of an image's environment."""

    def file(self, workload: str, name: str) -> str:
        """Path at which a workload finds one of its configuration files."""

    def data(self, *parts: str) -> str:
        """Path of the environment's data, such as the ledger."""
