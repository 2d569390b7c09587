"""One resource type of AWS, as the stand-in creates it in moto and reads it back."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.engine.aws.account import Account, AwsError
from tests.engine.aws.values import Plain


class Kind(ABC):
    """A resource type."""

    token: ClassVar[str]
    force_new: ClassVar[frozenset[str]] = frozenset()
    """Inputs whose change needs a new resource, by the provider's documentation and the AWS API."""
    name: ClassVar[str | None] = None
    """The input that the provider makes up from the resource's name when it is missing."""
    delete_first: ClassVar[bool] = False
    """Whether the provider deletes it before it creates its replacement, whatever its name."""
    not_kept: ClassVar[frozenset[str]] = frozenset()
    """Inputs that moto does not give back: they are echoed."""

    @abstractmethod
    def create(self, account: Account, inputs: Plain) -> str:
        """Create it and return its id."""

    @abstractmethod
    def read(self, account: Account, identity: str) -> Plain | None:
        """Inputs and outputs as they are in the account; None when it is gone."""

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        """Bring it to new inputs; what is not changed here is refused by the reading back."""
        raise AwsError(f"{self.token} {identity} cannot be changed in place")

    @abstractmethod
    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        """Remove it."""


class Remembered(Kind):
    """A kind that moto lacks: it is in the stand-in's memory alone."""

    def create(self, account: Account, inputs: Plain) -> str:
        identity = self.identity(account, inputs)
        if identity in account.memory[self.token]:
            raise AwsError(f"ResourceInUseException: {self.token} {identity} exists already")
        account.memory[self.token][identity] = inputs
        return identity

    @abstractmethod
    def identity(self, account: Account, inputs: Plain) -> str:
        """The id; raises what AWS would refuse."""

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        """What AWS adds."""
        del account, identity, inputs
        return {}

    def read(self, account: Account, identity: str) -> Plain | None:
        inputs = account.memory[self.token].get(identity)
        return inputs and {**inputs, **self.outputs(account, identity, inputs)}

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        account.memory[self.token][identity] = new

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        del account.memory[self.token][identity]


class NotKeptError(AssertionError):
    """What was created is not what the program asked for."""


def require_kept(kind: Kind, inputs: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Check that what is in the account is what the program asked for.

    Raises:
        NotKeptError: A property differs, or the kind does not read it back.
    """
    prefix = f"{kind.name}Prefix"
    if prefix in inputs and str(found[str(kind.name)]).startswith(inputs[prefix]):
        found = {**found, prefix: inputs[prefix]}
    problems = [
        problem
        for key, wanted in inputs.items()
        if key not in kind.not_kept and (problem := _problem(key, wanted, found))
    ]
    if problems:
        raise NotKeptError(f"{kind.token}: {'; '.join(problems)}")


def as_found(kind: Kind, inputs: Mapping[str, Any], found: Mapping[str, Any]) -> Plain:
    """Inputs as a refresh sees them: as they were where the account has what they say."""
    return {
        key: value
        if key in kind.not_kept or key not in found or _kept(value, found[key])
        else found[key]
        for key, value in inputs.items()
    }


def _problem(key: str, wanted: Any, found: Mapping[str, Any]) -> str | None:
    if key not in found:
        return f"{key} is not read back: teach its kind to, or name it in not_kept"
    if not _kept(wanted, found[key]):
        return f"{key}: the program asked for {wanted!r}, the account has {found[key]!r}"
    return None


def _kept(wanted: Any, found: Any) -> bool:
    """AWS adds defaults to objects, and lists are sets where their items are texts."""
    wanted, found = _parsed(wanted), _parsed(found)
    if not wanted and found is None:
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            _kept(value, found.get(key)) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and _same_items(wanted, found)
    return _text(wanted) == _text(found)


def _same_items(wanted: list[Any], found: list[Any]) -> bool:
    if all(isinstance(each, str) for each in [*wanted, *found]):
        return sorted(wanted) == sorted(found)
    return len(wanted) == len(found) and all(map(_kept, wanted, found))


def _text(value: Any) -> str:
    """The API has texts where the provider has numbers and truth values, and vice versa."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parsed(value: Any) -> Any:
    """Policies are JSON, in no fixed order."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value
