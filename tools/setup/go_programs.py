"""Steps that compile programs from Go modules; each module is a folder under `tools/go`."""

from dataclasses import dataclass

from tools.setup.model import Command, Group, Step


@dataclass(frozen=True, kw_only=True)
class GoProgram:
    """A program that is compiled from source.

    Attributes:
        name: The step's and the program's name.
        title: What the user reads.
        package: The Go package of its `main`.
        options: Options of `go build`.
        module: Folder under `tools/go` of the module that pins it; its name by default.
        sources: Files of that folder, besides go.mod and go.sum, that decide the result.
        prepare: Commands that run before the compiler.
        folder: Where the program is put.
        group: What it is set up for.
        cache_gib: What it adds to Go's caches.
    """

    name: str
    title: str
    package: str
    options: tuple[str, ...]
    module: str = ""
    sources: tuple[str, ...] = ()
    prepare: tuple[Command, ...] = ()
    folder: str = ".tools/bin"
    group: Group = "project"
    cache_gib: float = 2.4


def compile_step(program: GoProgram) -> Step:
    """Describe how a program is compiled."""
    module = f"tools/go/{program.module or program.name}"
    # Built aside and renamed: a half-written program must never be found under its name.
    aside = f"{program.folder}/.{program.name}.new"
    output = f"{program.folder}/{program.name}"
    # Without cgo the result needs no C compiler and no C header of the machine.
    compiler = ("env", "CGO_ENABLED=0", "go", "build", "-v", "-buildvcs=false")
    build = (*compiler, *program.options, "-o", f"../../../{aside}", program.package)
    return Step(
        name=program.name,
        title=program.title,
        lane="go",
        inputs=tuple(f"{module}/{file}" for file in ("go.mod", "go.sum", *program.sources)),
        outputs=(output,),
        commands=(
            Command(("mkdir", "-p", program.folder)),
            *program.prepare,
            Command(build, cwd=module),
            Command(("mv", "-f", aside, output)),
        ),
        project_gib=0.2,
        cache_gib=program.cache_gib,
        group=program.group,
    )
