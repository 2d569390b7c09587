"""In what the environment on the node differs from one that somebody operates, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One difference."""

    what: str
    here: str
    why: str


DIFFERENCES = (
    Difference(
        "content of the images",
        "links to the machine's environments, which every container sees read-only",
        "no registry and no builder; users, limits, restrictions and digests hold",
    ),
    Difference(
        "model servers",
        "SmolLM2-135M in float32 on CPUs, at most 1024 tokens, two pods on two cores",
        "no GPU",
    ),
    Difference(
        "adapters",
        "taught one word each and judged by the test; a quota lets no job of a release run",
        "that jobs train and judge is shown on one machine, by `make up`",
    ),
    Difference(
        "registry and warehouse",
        "moto's S3 in the memory of the tests, one credential for all pods",
        "create-only writes and compare-and-swap hold there; roles are IAM's and are tested apart",
    ),
    Difference(
        "disks of ledgers and MLflow",
        "folders of the machine that belong to the pods' user beforehand",
        "nothing on the node makes volumes, or gives folders to a group",
    ),
    Difference(
        "edge",
        "Envoy beside the cluster; `egctl` translates the HTTPRoutes that the API server has, and "
        "the environment's own route is the translator's",
        "kgateway's programs and kinds cannot be had",
    ),
    Difference(
        "way from the edge to the routers",
        "the address of the Service, and kube-proxy behind it",
        "kgateway would follow the EndpointSlices",
    ),
    Difference(
        "CPU requests of vLLM, routers and MLflow",
        "50 to 100 thousandths of a core",
        "everything is on one node of two cores",
    ),
    Difference(
        "NetworkPolicies",
        "declared, taken, and not enforced",
        "the bridge plugin has no such part",
    ),
    Difference(
        "operators",
        "Gateway API's kinds alone; no KEDA, Prometheus, External Secrets",
        "no charts; `replicas` are fixed and Secrets are made by the test",
    ),
)


def table() -> str:
    """The differences as a table of Markdown."""
    rows = (f"| {each.what} | {each.here} | {each.why} |" for each in DIFFERENCES)
    return "\n".join(["| what | on the node of the tests | why |", "|---|---|---|", *rows])
