"""Set up everything the project needs: `python3 tools/bootstrap.py [--only NAME...] [--check]`.

Needs Python 3.11 and nothing else; a second run installs nothing.
"""

import os
import platform
import shutil
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
WANTED = (3, 11)


def _start() -> int:
    if sys.version_info[:2] != WANTED:
        other = shutil.which("python3.11")
        if other:
            os.execv(other, [other, *sys.argv])  # noqa: S606 - the same script, another Python
        print(
            f"Python 3.11 is needed and this is {platform.python_version()}: install it "
            "(Debian 12: `apt install python3 python3-venv`; elsewhere: pyenv, or your "
            "package manager)",
            file=sys.stderr,
        )
        return 2
    sys.path.insert(0, ROOT)
    from pathlib import Path  # noqa: PLC0415

    from tools.setup import cli  # noqa: PLC0415 - the path is set here

    return cli.main(sys.argv[1:], Path(ROOT))


if __name__ == "__main__":
    sys.exit(_start())
