"""Container images by digest."""

from typing import Annotated

from pydantic import Field, StringConstraints

from stacks.config.base import Config

ImageRef = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$")
]
"""`repository@sha256:…`: a tag can be moved to other code."""


class Images(Config):
    """One image for each Python environment of the project, and those of others it runs."""

    infra: ImageRef = Field(description="engine, pipeline command, billing")
    serving: ImageRef = Field(description="router, adapter-sync, ledger")
    train: ImageRef = Field(description="jobs of releases")
    mlflow: ImageRef = Field(description="MLflow with the drivers of Postgres and S3")
    vllm: ImageRef = Field(description="vLLM 0.33.0 or later")
    envoy: ImageRef = Field(description="Envoy, the allowlist in front of each vLLM")


def refuse_unbuilt(images: Images) -> None:
    """Check that every image has a digest of its own: the shipped files have zeros.

    Raises:
        ValueError: One has not.
    """
    unbuilt = [name for name, image in images if set(image.rpartition(":")[2]) == {"0"}]
    if unbuilt:
        raise ValueError(
            f"pipeline:environment.images.{unbuilt[0]}: its digest is zeros: build and push the "
            "images (docs/images.md), then write their digests into the stack file"
        )
