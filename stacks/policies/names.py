"""Names in an AWS account, and ARNs made of them.

Names are known before anything exists, so that a preview shows every policy as it will be. A bucket
policy cannot name roles that are yet to come, so a role's path says what it is for: what the bucket
of the registry lets a release role do, it lets every role below `/<prefix>/release/` do.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal

from registry.release import StepKind

Purpose = Literal[
    "registry", "datasets", "models", "warehouse", "artifacts", "traces", "access-logs"
]
"""What a bucket is for."""
Capacity = Literal["approve"] | StepKind
"""What a role is for, where a bucket or a key tells roles apart."""

_PREFIX: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_BUCKET: Final = 63
_LONGEST_ROLE: Final = 64
_DIGEST: Final = 8


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where an environment lives, and how its things are named there."""

    account: str
    """Twelve digits."""
    region: str
    prefix: str
    """Of every name, such as `pipeline-prod`; no two environments of an account share it."""

    def __post_init__(self) -> None:
        longest = f"{self.prefix}-access-logs-{self.account}"
        if not _PREFIX.fullmatch(self.prefix) or len(longest) > _LONGEST_BUCKET:
            raise ValueError(
                f"prefix {self.prefix!r}: lower-case words with -, short enough for the bucket "
                f"{longest} to have {_LONGEST_BUCKET} characters (it has {len(longest)})"
            )

    @property
    def partition(self) -> str:
        """`aws`, or the one of China or GovCloud."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"

    @property
    def dns_suffix(self) -> str:
        """Last part of the names of AWS's services."""
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"

    @property
    def root(self) -> str:
        """ARN that stands for everybody in the account whose own policies allow it."""
        return f"arn:{self.partition}:iam::{self.account}:root"

    def bucket(self, purpose: Purpose) -> str:
        """Name of a bucket. Names of buckets are global, so it ends with the account."""
        return f"{self.prefix}-{purpose}-{self.account}"

    def bucket_arn(self, purpose: Purpose) -> str:
        """ARN of a bucket."""
        return f"arn:{self.partition}:s3:::{self.bucket(purpose)}"

    def role_path(self, capacity: Capacity | None) -> str:
        """Path of a role; None: of one that nothing is reserved for."""
        return f"/{self.prefix}/{capacity or 'workload'}/"

    def roles_of(self, capacity: Capacity) -> str:
        """Pattern of the ARNs of all roles of a capacity."""
        return f"arn:{self.partition}:iam::{self.account}:role{self.role_path(capacity)}*"

    def cluster_arn(self, cluster: str) -> str:
        """ARN of an EKS cluster."""
        return f"arn:{self.partition}:eks:{self.region}:{self.account}:cluster/{cluster}"

    def role_name(self, *parts: str) -> str:
        """Name of a role, shortened with a digest where IAM's 64 characters are too few."""
        name = "-".join((self.prefix, *parts))
        if len(name) <= _LONGEST_ROLE:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
        return f"{name[: _LONGEST_ROLE - _DIGEST - 1].rstrip('-')}-{digest}"
