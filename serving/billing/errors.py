"""The one error of billing."""


class BillingError(Exception):
    """The bill cannot be made; the message names the place, the value and the fix."""
