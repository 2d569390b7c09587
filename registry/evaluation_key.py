"""Make the key pair that verdicts are signed with, unless it exists.

`python -m registry.evaluation_key --private FILE --public FILE`
"""

import argparse
import sys
from pathlib import Path

from registry.evaluation import create_key_pair


def main() -> int:
    """Create both files; existing ones stay, one without the other is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--private", type=Path, required=True)
    parser.add_argument("--public", type=Path, required=True)
    arguments = parser.parse_args()
    private, public = arguments.private, arguments.public
    if private.exists() != public.exists():
        missing = public if private.exists() else private
        sys.stderr.write(f"{missing} is missing but the other half exists: restore it\n")
        return 1
    if not private.exists():
        create_key_pair(private, public)
    return 0


if __name__ == "__main__":
    sys.exit(main())
