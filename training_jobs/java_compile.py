"""Compile Java snippets with the JDK of this machine, many in one `javac` call."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_IDENTIFIER = re.compile(r"\b[a-z][A-Za-z0-9]*\b")
_CALL = re.compile(r"\b([a-z][A-Za-z0-9]*)\(")
_NOT_FIELDS = frozenset(
    [
        "i",
        "int",
        "for",
        "if",
        "else",
        "while",
        "new",
        "true",
        "false",
        "return",
        "void",
        "boolean",
        "add",
        "subtract",
        "multiply",
        "divide",
        "compareTo",
        "setScale",
    ]
)
_STRING = re.compile(r'"[^"]*"')
_ERROR = re.compile(r"^.*?S(\d+)\.java:\d+: error: (.*)$", re.MULTILINE)


def java_compiler() -> str | None:
    """The path of `javac`, or None where no JDK is installed."""
    return shutil.which("javac")


def wrap(snippet: str, index: int) -> str:
    """A compilation unit around statements: the fields and methods that they name are declared."""
    bare = _STRING.sub("", snippet)
    calls = set(_CALL.findall(bare)) - _NOT_FIELDS
    fields = set(_IDENTIFIER.findall(bare)) - calls - _NOT_FIELDS
    lines = ["import java.math.BigDecimal;", "import java.math.RoundingMode;", f"class S{index} {{"]
    lines += [f"BigDecimal {name};" for name in sorted(fields)]
    for name in sorted(calls):
        if re.match(r"is[A-Z]", name):
            lines.append(f"boolean {name}() {{ return false; }}")
        elif re.match(r"set[A-Z]", name):
            lines.append(f"void {name}(boolean value) {{ }}")
        else:
            lines.append(f"void {name}() {{ }}")
    return "\n".join([*lines, "void statements_() {", snippet, "}", "}", ""])


def failures(snippets: Sequence[str], compiler: str) -> dict[int, str]:
    """Index -> first error of every snippet that does not compile.

    A syntax error hides type errors of other files from javac, so the good rest is compiled again.

    Raises:
        subprocess.TimeoutExpired: javac hangs.
    """
    failed: dict[int, str] = {}
    with tempfile.TemporaryDirectory(prefix="javac-") as folder:
        root = Path(folder)
        for index, snippet in enumerate(snippets):
            (root / f"S{index}.java").write_text(wrap(snippet, index))
        while len(failed) < len(snippets):
            names = [f"S{i}.java" for i in range(len(snippets)) if i not in failed]
            found = _compile(compiler, root, names)
            if not found:
                break
            failed.update(found)
    return failed


def _compile(compiler: str, root: Path, names: Sequence[str]) -> dict[int, str]:
    (root / "files").write_text("\n".join(names))
    result = subprocess.run(
        [
            compiler,
            "-proc:none",
            "-Xmaxerrs",
            "100000",
            "-encoding",
            "UTF-8",
            "-d",
            "out",
            "@files",
        ],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if result.returncode == 0:
        return {}
    found: dict[int, str] = {}
    for match in _ERROR.finditer(result.stderr):
        found.setdefault(int(match[1]), match[2])
    if not found:
        raise RuntimeError(f"javac failed without naming a file: {result.stderr.strip()[:500]}")
    return found
