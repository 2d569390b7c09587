"""The one error of reconciliation."""


class ReconciliationError(Exception):
    """Nothing can be compared; the message names the place, the value and the fix."""
