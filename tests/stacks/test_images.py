"""The images as their Dockerfile says they are: nothing here builds one."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from components.pods import pod_security
from stacks.config.images import Images
from stacks.paths import ROOT
from stacks.programs.cluster.services import RDS_CERTIFICATES

_FILE = ROOT / "images" / "Dockerfile"
_BAKE = ROOT / "images" / "docker-bake.hcl"
_PACKAGES = ("registry", "serving", "training_jobs", "stacks", "components", "substrates")
_MODULES = {
    "infra": (
        "serving.billing",
        "serving.reconciliation",
        "serving.mlflow_users",
        "registry.release_job",
    ),
    "serving": (
        "serving.router",
        "serving.cluster_watch",
        "serving.ledger.shipping",
        "serving.adapter_sync",
        "serving.exporter",
        "serving.reconciliation.sample",
        "serving.pod_reports",
    ),
    "train": (
        "training_jobs.dataset",
        "training_jobs.train",
        "training_jobs.evaluate",
        "registry.publish",
        "registry.fetch",
    ),
    "mlflow": (),
}
"""What the pods of each image start."""


def _instructions() -> Iterator[tuple[str, str]]:
    """Instruction and its text; continued lines are joined, comments are left out."""
    lines = [each for each in _FILE.read_text().splitlines() if not each.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        yield name, " ".join(rest.split())


def _stages() -> dict[str, list[tuple[str, str]]]:
    stages: dict[str, list[tuple[str, str]]] = defaultdict(list)
    stage = ""
    for name, text in _instructions():
        if name == "FROM":
            stage = text.rpartition(" AS ")[2]
        stages[stage].append((name, text))
    return stages


def _sources(stage: list[tuple[str, str]]) -> list[str]:
    """Paths that a stage copies from the project."""
    return [
        source
        for name, text in stage
        if name == "COPY" and "--from=" not in text
        for source in text.split()[:-1]
    ]


def _ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern decides that matches it or a folder
    that it is in."""
    folders = ["/".join(Path(path).parts[: end + 1]) for end in range(len(Path(path).parts))]
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            expression = _expression(line.removeprefix("!"))
            if any(expression.fullmatch(folder) for folder in folders):
                ignored = not line.startswith("!")
    return ignored


def _expression(pattern: str) -> re.Pattern[str]:
    known = {"**/": "(?:.*/)?", "*": "[^/]*"}
    parts = re.split(r"(\*\*/|\*|\[\w+\])", pattern)
    texts = (known.get(each, each if each.startswith("[") else re.escape(each)) for each in parts)
    return re.compile("".join(texts))


def _images() -> dict[str, list[tuple[str, str]]]:
    """The stages that are built, by name."""
    return {name: stage for name, stage in _stages().items() if name in Images.model_fields}


def test_there_is_an_image_for_each_environment_of_the_project() -> None:
    theirs = {"vllm", "envoy"}
    assert set(_images()) == set(Images.model_fields) - theirs == set(_MODULES)
    (group,) = re.findall(r"targets = \[(.*)\]", _BAKE.read_text())
    assert set(re.findall(r"\w+", group)) == set(_images())
    passed = set(re.findall(r"^    (\w+) +=", _BAKE.read_text(), flags=re.MULTILINE))
    assert {text for name, text in _instructions() if name == "ARG"} <= passed


def test_what_is_copied_exists_and_gets_into_the_build() -> None:
    copied = {source for stage in _stages().values() for source in _sources(stage)}
    assert len(copied) == 8
    for source in copied:
        path = ROOT / source
        assert path.exists(), source
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        assert files
        for each in files:
            assert not _ignored(str(each.relative_to(ROOT))), each


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".local/prod/evaluation.key",
        ".venv/bin/python",
        ".env",
        "stacks/Pulumi.prod.yaml",
        "serving/router/__pycache__/server.cpython-311.pyc",
        "tools/bootstrap.py",
        "tools/environments/mlflow.in",
    ],
)
def test_nothing_else_gets_into_a_build(path: str) -> None:
    assert _ignored(path)


def test_every_stage_begins_at_a_digest_or_at_another_stage() -> None:
    begins = [text.partition(" AS ") for name, text in _instructions() if name == "FROM"]
    known: set[str] = set()
    for base, _, stage in begins:
        assert base == "${PYTHON_IMAGE}" or base in known, base
        known.add(stage)
    # An argument with a default would be built without anybody having said which digest.
    assert not [text for name, text in _instructions() if name == "ARG" and "=" in text]


def test_images_run_as_the_user_of_the_pods() -> None:
    security = pod_security()
    users = {
        stage: text for stage, each in _stages().items() for name, text in each if name == "USER"
    }
    assert users == {"runtime": f"{security.run_as_user}:{security.run_as_group}"}
    assert {stage[0][1].partition(" AS ")[0] for stage in _images().values()} == {"runtime"}


def test_only_locked_packages_with_hashes_are_installed() -> None:
    installs = [text for name, text in _instructions() if name == "RUN" and " install " in text]
    installs += [text for name, text in _instructions() if name == "RUN" and " sync " in text]
    assert len(installs) == 5
    assert all("--require-hashes" in each for each in installs)
    locks = {
        source
        for stage in _stages().values()
        for source in _sources(stage)
        if source.endswith(".txt")
    }
    for lock in locks:
        pinned = re.findall(r"^\S+==\S+.*$", (ROOT / lock).read_text(), flags=re.MULTILINE)
        assert pinned
        assert all(line.endswith("\\") for line in pinned), lock


def test_nothing_in_an_image_looks_like_a_secret() -> None:
    names = re.compile(r"password|secret|token|private_key|credential", re.IGNORECASE)
    settings = [text for name, text in _instructions() if name in {"ENV", "ARG"}]
    assert settings
    assert not [each for each in settings if names.search(each)]


def test_mlflow_finds_the_certificates_where_its_service_file_says() -> None:
    (added,) = (text for name, text in _images()["mlflow"] if name == "ADD")
    assert added.split()[-1] == str(RDS_CERTIFICATES)
    assert added.startswith("--checksum=${RDS_CERTIFICATES} ")


@cache
def _file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            return found
    return None


def _imported(path: Path) -> set[str]:
    """Modules of the project that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.partition(".")[0] in _PACKAGES and _file_of(name)}


def _closure(modules: tuple[str, ...]) -> set[str]:
    """These modules, and every module of the project that they import in the end."""
    waiting, found = list(modules), set()
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        path = _file_of(module)
        assert path is not None, module
        waiting += _imported(path)
        if path.name == "__init__.py" and (path.parent / "__main__.py").is_file():
            waiting.append(f"{module}.__main__")
    return found


@pytest.mark.parametrize("image", list(_MODULES))
def test_an_image_holds_every_module_that_its_pods_import(image: str) -> None:
    copied = {source for source in _sources(_images()[image]) if not source.endswith(".txt")}
    needed = {module.partition(".")[0] for module in _closure(_MODULES[image])}
    assert needed == copied
