"""Bring objects to a job's disk: `python -m registry.fetch URI=PATH ...`.

`s3://bucket/key` becomes the file PATH; `s3://bucket/prefix/`, with the slash, becomes the
directory PATH with everything below the prefix. Jobs verify digests themselves: this only moves
bytes.
"""

import argparse
import sys
from pathlib import Path

from registry.errors import NotFoundError, RegistryError
from registry.store import open_store


def fetch(uri: str, path: Path) -> int:
    """Bring an object, or everything below a prefix; return how many objects.

    Raises:
        NotFoundError: There is nothing at the URI.
        RegistryError: The URI cannot be one.
        OSError: Store or disk cannot be read or written.
    """
    if not uri.endswith("/"):
        folder, _, name = uri.rpartition("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        open_store(folder).get_to_file(name, path)
        return 1
    store = open_store(uri.rstrip("/"))
    keys = [key for key in store.list("") if not _is_nobodys(key)]
    if not keys:
        raise NotFoundError(f"{uri}: there is nothing below this prefix")
    for key in keys:
        target = path / key
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_to_file(key, target)
    return len(keys)


def _is_nobodys(key: str) -> bool:
    """Whether it is a folder of the S3 console, or hidden, such as `.gitattributes` of a model."""
    return not key or key.endswith("/") or any(part.startswith(".") for part in key.split("/"))


def _pair(text: str) -> tuple[str, Path]:
    uri, separator, path = text.rpartition("=")
    if not separator or not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not URI=/absolute/path")
    return uri, Path(path)


def main() -> int:
    """Bring everything that is named. Exit status 1: something could not be had."""
    parser = argparse.ArgumentParser(prog="python -m registry.fetch", description=fetch.__doc__)
    parser.add_argument("inputs", nargs="+", type=_pair, metavar="URI=PATH")
    for uri, path in parser.parse_args().inputs:
        try:
            count = fetch(uri, path)
        except (RegistryError, OSError) as error:
            sys.stderr.write(f"{uri}: {error}\n")
            return 1
        sys.stderr.write(f"{uri}: {count} objects to {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
