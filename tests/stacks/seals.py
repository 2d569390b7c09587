"""How many resources of each type the shipped environments declare, and what they warn of.

When a change is meant, write them anew and read the difference:

    .venv/bin/python -m tests.stacks.seals
"""

import json
from pathlib import Path
from typing import Any, Final

from tests.stacks.environments import SHIPPED, shipped

SEALS: Final = Path(__file__).with_name("seals.json")


def seal(name: str) -> dict[str, Any]:
    """What a shipped environment declares, counted."""
    graph = shipped(name)
    counts = dict(sorted(graph.program.counts().items()))
    return {"resources": sum(counts.values()), "warnings": graph.warnings, "counts": counts}


if __name__ == "__main__":
    sealed = {name: seal(name) for name in SHIPPED}
    SEALS.write_text(json.dumps(sealed, indent=2) + "\n")
