"""`python -m tests.engine.up_once DIRECTORY`: one `up` of an existing world, in its own process."""

import sys
from pathlib import Path

from tests.engine.conftest import World

if __name__ == "__main__":
    World(Path(sys.argv[1]), fresh=False).up(once=True)
