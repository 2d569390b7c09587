"""Read documentation -> code examples out of the docstrings of an installed `pulumi_aws`.

The package is parsed, never imported: importing it takes seconds and needs pulumi.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training_jobs.errors import JobInputError

_EXAMPLES = "## Example Usage"
_FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
_HEADING = re.compile(r"^#{2,5} +(.+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_SENTENCE = re.compile(r"(.+?[.])(?=\s+[A-Z]|$)")
_NOT_PROSE = (">", "#", "!", "~", "-", "*")


@dataclass(frozen=True)
class Example:
    """One code example of one resource class or lookup function."""

    service: str
    """Module below `aws.`, for example `sqs`."""
    name: str
    """Class or function, for example `Queue` or `get_queue`."""
    sentence: str
    """First sentence of the documentation, without Markdown."""
    heading: str
    """Section heading above the example, possibly empty."""
    code: str
    """The source of the call that makes the documented resource; "" if the example has none."""

    @property
    def is_resource(self) -> bool:
        """A class makes a resource; a function looks one up."""
        return self.name[0].isupper()

    @property
    def path(self) -> str:
        """`aws.sqs.Queue`."""
        return f"aws.{self.service}.{self.name}" if self.service else f"aws.{self.name}"


def read_package(package: Path) -> Iterator[Example]:
    """All examples, in path order.

    Raises:
        JobInputError: `package` is no `pulumi_aws` package directory.
    """
    if not (package / "__init__.py").is_file():
        raise JobInputError(
            f"{package}: no pulumi_aws package: install requirements.txt or pass --package-dir"
        )
    for path in sorted(package.rglob("*.py")):
        if not path.name.startswith("_"):
            service = ".".join(path.relative_to(package).parts[:-1])
            yield from read_module(path.read_text(encoding="utf-8"), service)


def read_module(source: str, service: str) -> Iterator[Example]:
    """The examples of one module's source text."""
    if _EXAMPLES not in source:
        return
    for node in ast.parse(source).body:
        docstring = _documentation(node)
        if docstring:
            yield from _examples(docstring, service, node.name)  # type: ignore[attr-defined]


def _documentation(node: ast.stmt) -> str | None:
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            # The first overload of __init__ carries the resource's documentation.
            if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                return ast.get_docstring(member)
    if (
        isinstance(node, ast.FunctionDef)
        and node.name.startswith("get_")
        and not node.name.endswith("_output")
    ):
        return ast.get_docstring(node)
    return None


def _examples(docstring: str, service: str, name: str) -> Iterator[Example]:
    sentence = first_sentence(docstring)
    position = 0
    for match in _FENCE.finditer(docstring):
        headings = _HEADING.findall(docstring[position : match.start()])
        position = match.end()
        bare = Example(service, name, sentence, headings[-1] if headings else "", "")
        yield Example(service, name, sentence, bare.heading, _call(match[1], bare.path))


def first_sentence(docstring: str) -> str:
    """The first sentence of the first paragraph that is prose."""
    for paragraph in docstring.split(_EXAMPLES, maxsplit=1)[0].split("\n\n"):
        text = " ".join(paragraph.split())
        if text and not text.startswith(_NOT_PROSE):
            text = _LINK.sub(r"\1", text).replace("`", "")
            found = _SENTENCE.match(text)
            return found[1] if found else text
    return ""


def _call(code: str, path: str) -> str:
    """Source of the first call of `path` in `code`, or ""."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == path:
            return ast.get_source_segment(code, node) or ""
    return ""
