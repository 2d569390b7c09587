"""The steps of the group `cluster`: a Kubernetes of this machine's own, compiled from source.

Its programs lie apart from the project's: the engine looks for provider plugins on its PATH, and
must find the Kubernetes provider of a test only in that test.
"""

from tools.setup.go_programs import GoProgram, compile_step
from tools.setup.model import Command, Step

FOLDER = ".tools/cluster"
PROGRAMS = f"{FOLDER}/bin"
DEFINITIONS = f"{FOLDER}/crds"

KUBERNETES = "v1.37.2"
PROVIDER = "v4.25.0"
"""The release whose last commit the provider's module is pinned to."""

_PROVIDER_MODULE = "github.com/pulumi/pulumi-kubernetes/provider/v4"
_COMMAND_OF_PROVIDER = "cmd/pulumi-resource-kubernetes"
_STRIPPED = "-s -w"

_DEFINITIONS = {
    "cert-manager": ("github.com/cert-manager/cert-manager", "deploy/crds"),
    "gateway-api": ("sigs.k8s.io/gateway-api", "config/crd/standard"),
    "keda": ("github.com/kedacore/keda/v2", "config/crd/bases"),
    "prometheus": (
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd",
    ),
    "external-secrets": ("github.com/external-secrets/external-secrets", "config/crds/bases"),
    "kueue": ("sigs.k8s.io/kueue", "config/components/crd/bases"),
}
"""Go module of each operator, and its folder of CustomResourceDefinitions.

As near to the versions of `stacks/charts.lock.yaml` as there are modules; kgateway has none.
"""

# One file from many: `go list` prints where the module cache keeps the module.
_JOIN_FILES = """
folder=$(go list -m -f '{{.Dir}}' "$1")/$2
for file in "$folder"/*_*.yaml; do echo ---; cat "$file"; done > "$3"
"""
_COPY_FILES = """
folder=$(go list -m -f '{{.Dir}}' "$1")/$2
cp "$folder"/*.json . && chmod u+w ./*.json
"""


def cluster_steps() -> list[Step]:
    """Describe the programs of a cluster and the definitions of its operators' kinds."""
    # The API server comes first of its module: it compiles most of what the others share.
    programs = (
        _etcd(),
        _kubernetes("kube-apiserver", "Kubernetes API server", cache_gib=2.0),
        _kubernetes("kube-controller-manager", "Kubernetes controllers", cache_gib=0.8),
        _kubernetes("kube-scheduler", "Kubernetes scheduler", cache_gib=0.2),
        _kubernetes("kubelet", "Kubernetes node agent", cache_gib=0.4),
        _kubernetes("kube-proxy", "Kubernetes Services on a node", cache_gib=0.2),
        _coredns(),
        _provider(),
    )
    return [_definitions(), *map(compile_step, programs)]


def _definitions() -> Step:
    module = "tools/go/crds"
    outputs = {name: f"{DEFINITIONS}/{name}.yaml" for name in _DEFINITIONS}
    modules = [path for path, _ in _DEFINITIONS.values()]
    join = ("sh", "-euc", _JOIN_FILES, "sh")
    return Step(
        name="crds",
        title="kinds of operators",
        lane="go",
        inputs=(f"{module}/go.mod", f"{module}/go.sum"),
        outputs=tuple(outputs.values()),
        commands=(
            Command(("mkdir", "-p", DEFINITIONS)),
            Command(("go", "mod", "download", *modules), cwd=module),
            *(
                Command((*join, path, folder, f"../../../{outputs[name]}"), cwd=module)
                for name, (path, folder) in _DEFINITIONS.items()
            ),
        ),
        project_gib=0.1,
        cache_gib=0.2,
        group="cluster",
    )


def _etcd() -> GoProgram:
    return GoProgram(
        name="etcd",
        title="store of the Kubernetes API",
        package="go.etcd.io/etcd/server/v3",
        options=("-ldflags", _STRIPPED),
        folder=PROGRAMS,
        group="cluster",
        cache_gib=0.4,
    )


def _kubernetes(name: str, title: str, *, cache_gib: float) -> GoProgram:
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    # Charts and clients decide by what the server says its version is.
    version = " ".join(
        f"-X k8s.io/component-base/version.{variable}={value}"
        for variable, value in (
            ("gitVersion", KUBERNETES),
            ("gitMajor", major),
            ("gitMinor", minor),
        )
    )
    return GoProgram(
        name=name,
        title=f"{title} {KUBERNETES}",
        package=f"k8s.io/kubernetes/cmd/{name}",
        options=("-ldflags", f"{_STRIPPED} {version}"),
        module="kubernetes",
        folder=PROGRAMS,
        group="cluster",
        cache_gib=cache_gib,
    )


def _coredns() -> GoProgram:
    return GoProgram(
        name="coredns",
        title="DNS server of a cluster",
        package=".",
        options=("-ldflags", _STRIPPED),
        sources=("main.go",),
        folder=PROGRAMS,
        group="cluster",
        cache_gib=0.5,
    )


def _provider() -> GoProgram:
    module = "tools/go/pulumi-kubernetes"
    copy = ("sh", "-euc", _COPY_FILES, "sh", _PROVIDER_MODULE, _COMMAND_OF_PROVIDER)
    return GoProgram(
        name="pulumi-resource-kubernetes",
        title=f"Pulumi's Kubernetes provider {PROVIDER}",
        package=".",
        options=("-ldflags", f"{_STRIPPED} -X {_PROVIDER_MODULE}/pkg/version.Version={PROVIDER}"),
        module="pulumi-kubernetes",
        sources=("main.go",),
        prepare=(
            Command(("go", "mod", "download", _PROVIDER_MODULE), cwd=module),
            Command(copy, cwd=module),
        ),
        folder=PROGRAMS,
        group="cluster",
        cache_gib=3.0,
    )
