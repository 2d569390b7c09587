"""How often a request is sent at most; reconciliation bounds differences by it. No I/O."""

from typing import Final

MAX_ATTEMPTS: Final = 2
"""How often one request is sent to a model server."""
