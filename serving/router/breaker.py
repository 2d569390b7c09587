"""When something that fails is left alone for a while. No I/O, no clock."""

from serving.router.config import BreakerLimits


class Breaker:
    """Open after failures in a row; after a while one request tries again and decides.

    Times are seconds of any one clock.
    """

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    def admits(self, now: float) -> bool:
        """Whether a request may go through."""
        if self._opened is None:
            return True
        return not self._probing and now - self._opened >= self._limits.open_s

    def begin(self) -> None:
        """Note that a request goes through: where the breaker is open, it is the probe."""
        self._probing = self._opened is not None

    def succeeded(self) -> None:
        """Note that a request was answered: whatever was, is over."""
        self._failures, self._opened, self._probing = 0, None, False

    def failed(self, now: float) -> bool:
        """Note that a request failed; whether that opened the breaker."""
        self._failures += 1
        was_closed = self._opened is None
        if self._probing or (was_closed and self._failures >= self._limits.failures):
            self._opened, self._probing = now, False
        return was_closed and self._opened is not None

    def abandoned(self) -> None:
        """Note that a request ended without telling: another one may be the probe."""
        self._probing = False
