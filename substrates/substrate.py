"""What a substrate can do with a workload."""

from typing import Protocol

import pulumi

from substrates.workload import Document, Job, Service


class JobSubstrate(Protocol):
    """Renders jobs as resources of one kind of environment."""

    def job(self, job: Job, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A job that runs once."""

    def python(self, image: str) -> str:
        """The interpreter of an image's environment, such as `serving`."""

    def file(self, workload: str, name: str) -> str:
        """Path at which a workload finds one of its configuration files."""

    def input(self, uri: str) -> str:
        """Path at which a job finds one of its inputs."""

    def data(self, *parts: str) -> str:
        """Path of data that a job, or a service, keeps, such as checkpoints or the ledger."""


class Substrate(JobSubstrate, Protocol):
    """Also renders services, and the documents that they read."""

    def service(self, service: Service, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A service that runs until it is removed."""

    def document(self, document: Document, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """An object that a control loop reads."""

    def program(self, image: str, name: str) -> str:
        """A program of an image's environment."""
