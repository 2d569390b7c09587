"""Every resource type that the stand-in for AWS knows, by its token."""

from tests.engine.aws.kind import Kind
from tests.engine.aws.kinds import data, eks, iam, network, nodes, s3

KINDS: dict[str, Kind] = {
    kind.token: kind for module in (network, nodes, eks, iam, s3, data) for kind in module.KINDS
}
