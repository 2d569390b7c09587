# docker buildx bake --file images/docker-bake.hcl --push --metadata-file images.json

variable "REGISTRY" {
  description = "Where images go, such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com"
  validation {
    condition     = REGISTRY != ""
    error_message = "REGISTRY is not set: name the registry of the account."
  }
}

variable "REVISION" {
  description = "Commit that is built: the tag of the images, for people; stacks name digests"
  validation {
    condition     = can(regex("^[0-9a-f]{40}$", REVISION))
    error_message = "REVISION is not a commit: use $(git rev-parse HEAD)."
  }
}

variable "PYTHON_IMAGE" {
  description = "python:3.11-slim-bookworm by digest"
  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", PYTHON_IMAGE))
    error_message = "PYTHON_IMAGE has no digest: docs/images.md says how to find it."
  }
}

variable "RDS_CERTIFICATES" {
  description = "sha256:… of the bundle of certificates of Amazon RDS"
  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", RDS_CERTIFICATES))
    error_message = "RDS_CERTIFICATES is no digest: docs/images.md says how to find it."
  }
}

group "default" {
  targets = ["infra", "serving", "train", "mlflow"]
}

target "image" {
  name       = name
  matrix     = { name = ["infra", "serving", "train", "mlflow"] }
  context    = "."
  dockerfile = "images/Dockerfile"
  target     = name
  platforms  = ["linux/amd64"]
  args = {
    PYTHON_IMAGE     = PYTHON_IMAGE
    RDS_CERTIFICATES = RDS_CERTIFICATES
  }
  tags = ["${REGISTRY}/pipeline-${name}:${REVISION}"]
  labels = {
    "org.opencontainers.image.revision" = REVISION
  }
  attest = ["type=provenance,mode=max", "type=sbom"]
}
