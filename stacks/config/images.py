"""Container images by digest."""

from typing import Annotated

from pydantic import AfterValidator, Field

from components.checks import NOT_BY_DIGEST, is_by_digest
from stacks.config.base import Config


def _by_digest(image: str) -> str:
    if not is_by_digest(image):
        raise ValueError(f"is {NOT_BY_DIGEST}")
    return image


ImageRef = Annotated[str, AfterValidator(_by_digest)]
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
