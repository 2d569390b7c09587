"""Digests of files: how every artifact and dataset is named."""

import hashlib
from pathlib import Path


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file's bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
