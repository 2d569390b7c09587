"""The simulator, and callers with the permissions of roles."""

from collections.abc import Callable, Iterator

import pytest

from tests.iam.caller import Caller
from tests.iam.policies import declared
from tests.iam.simulator import Simulator, require_simulator


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    require_simulator()
    running = Simulator()
    yield running
    running.close()


@pytest.fixture(scope="session")
def as_role(simulator: Simulator) -> Callable[[str], Caller]:
    return lambda role: Caller(simulator, declared(), role)


@pytest.fixture(scope="session")
def administrator(simulator: Simulator) -> Caller:
    """Somebody whose own policy allows everything."""
    role = "arn:aws:iam::123456789012:role/administrator"
    return Caller(simulator, declared(), role, administrator=True)
