"""From a domain's configuration to the digests that the release state machine works with."""

from registry.documents import digest
from registry.names import PoolName
from registry.release import Desired
from stacks.config.domain import TrainedDomain, Training
from stacks.contract import EnvironmentContract
from training_jobs.recipe import RECIPE_VERSION


def desired_release(domain: TrainedDomain, contract: EnvironmentContract) -> Desired:
    """What the stack wants, as digests."""
    return Desired(
        domain=domain.name,
        version=domain.version,
        dataset=dataset_digest(domain),
        training={
            pool: training_digest(domain, pool, training, contract)
            for pool, training in domain.adapters.items()
        },
        gate=gate_digest(domain),
        approvals_required=domain.gate.experts.required,
    )


def dataset_digest(domain: TrainedDomain) -> str:
    """Digest of what the dataset check depends on: content and limits, not places."""
    dataset = domain.dataset
    return digest(
        {
            "train": dataset.digest,
            "heldout": dataset.heldout_digest,
            "min_reviewed": dataset.min_reviewed,
            "max_seq_length": _longest(domain),
        }
    )


def training_digest(
    domain: TrainedDomain, pool: PoolName, training: Training, contract: EnvironmentContract
) -> str:
    """Digest of everything that changes one pool's weights."""
    return digest(
        {
            "dataset": domain.dataset.digest,
            "base": contract.pools[pool].base_id,
            "hyperparameters": training.model_dump(mode="json"),
            "recipe": RECIPE_VERSION,
        }
    )


def gate_digest(domain: TrainedDomain) -> str:
    """Digest of what a verdict depends on; approvals are counted apart from it."""
    return digest(
        {
            "heldout": domain.dataset.heldout_digest,
            **domain.gate.model_dump(mode="json", exclude={"experts"}),
        }
    )


def _longest(domain: TrainedDomain) -> int:
    return min(training.max_seq_length for training in domain.adapters.values())
