"""Configuration of a domain stack."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from registry.names import DomainName, HeaderAlias, PoolName, Reviewer, VersionField
from stacks.config.base import LORA_RANKS, Config, CustomerId, DataUri, Digest, Reason
from training_jobs.dataset_config import Collector
from training_jobs.evaluate_config import NOT_IMPLEMENTED, Metric, SwitchableCheck


class Dataset(Config):
    """Reviewed input/output pairs, named by the digest of their bytes."""

    uri: DataUri = Field(
        description="training pairs: `s3://bucket/key`, or locally a path below the state directory"
    )
    digest: Digest = Field(description="sha256 of the file; another content is refused")
    heldout_uri: DataUri = Field(description="held-out pairs for the domain test")
    heldout_digest: Digest
    min_reviewed: int = Field(500, ge=1, description="fewer rows than this are refused")
    collector: Collector | None = Field(
        None, description="makes the files when they are absent (local examples only)"
    )

    @model_validator(mode="after")
    def _a_folder_of_its_own(self) -> Self:
        """A collector writes its folder whole, so nothing else may lie there."""
        if self.collector is None:
            return self
        folder, _, name = self.uri.rpartition("/")
        if not folder or (name, self.heldout_uri) != ("train.jsonl", f"{folder}/heldout.jsonl"):
            raise ValueError(
                "a collector makes train.jsonl and heldout.jsonl in one folder: set uri and "
                "heldout_uri to <folder>/train.jsonl and <folder>/heldout.jsonl"
            )
        return self


class Training(Config):
    """How one pool's adapter is trained. Everything here changes the weights."""

    engine: Literal["peft"] = Field("peft", description="PEFT/TRL, runs anywhere")
    method: Literal["lora"] = "lora"
    rank: int = Field(16, description="LoRA rank")
    alpha: int = Field(32, ge=1, description="LoRA scaling numerator")
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    max_seq_length: int = Field(4096, ge=16, description="tokens of prompt and answer")
    answer_tokens: int | None = Field(
        None, ge=1, description="train on the first tokens of each answer only"
    )
    learning_rate: float = Field(2e-4, gt=0, le=1)
    steps: int = Field(ge=1, description="optimizer steps")
    batch_size: int = Field(8, ge=1, description="rows in one step")
    seed: int = Field(7, ge=0)

    @field_validator("rank")
    @classmethod
    def _known_rank(cls, rank: int) -> int:
        if rank not in LORA_RANKS:
            raise ValueError(f"vLLM serves ranks {', '.join(map(str, LORA_RANKS))}")
        return rank

    @field_validator("target_modules")
    @classmethod
    def _some_modules(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        if not modules or len(set(modules)) != len(modules):
            raise ValueError("name at least one module, each once")
        return modules


class DomainTest(Config):
    """Held-out pairs, answered by the adapter and by the base."""

    metric: Metric
    rows: int = Field(20, ge=1, description="held-out rows in the gate")
    max_tokens: int = Field(64, ge=1, description="longest answer, tokens")


class Experts(Config):
    """Who must approve a bundle."""

    names: tuple[Reviewer, ...] | Literal["anyone"] = Field(
        description="reviewers who count; `anyone` on local environments only"
    )
    required: int = Field(2, ge=0)
    demo: tuple[Annotated[str, StringConstraints(pattern=r"^demo-[a-z0-9-]+$")], ...] = Field(
        (), description="approve in `pipeline up --demo-approvals`; local environments only"
    )

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if isinstance(self.names, tuple) and len(set(self.names)) < self.required:
            raise ValueError(f"{self.required} approvals required of {len(set(self.names))} names")
        return self


class Gate(Config):
    """The evaluation gate: what a version must pass before it may go live."""

    faithfulness: float = Field(0.85, ge=0, le=1, description="RAGAS faithfulness, at least")
    swe_bench_resolved: float = Field(0.30, ge=0, le=1, description="resolved share, at least")
    domain_test: DomainTest
    domain_test_margin: float = Field(0.05, ge=0, le=1, description="better than the base by")
    garak_critical: int = Field(0, ge=0, description="critical findings, at most")
    experts: Experts
    not_applicable: dict[SwitchableCheck, Reason] = Field(
        default_factory=dict, description="checks that do not apply here, each with its reason"
    )

    @property
    def cannot_run(self) -> tuple[SwitchableCheck, ...]:
        """Checks that this version cannot run, and that are on: the gate fails on each of them."""
        return tuple(check for check in NOT_IMPLEMENTED if check not in self.not_applicable)


class Routing(Config):
    """How the router answers this domain."""

    mode: Literal["direct"] = Field("direct", description="the pool that `model` names")
    content_capture: Literal["off", "hashed", "on"] = Field(
        "off", description="prompts and answers in traces"
    )
    before_first_release: Literal["refuse", "base"] = Field(
        "refuse",
        description="until a first adapter is live: refuse requests, or let base models answer",
    )


class DomainConfig(Config):
    """One domain of one customer: its key and route, and what is trained for it.

    A domain without training has `base` in every pool, and neither version, dataset nor gate: the
    base models answer for it. So it is in every environment before phase 4.
    """

    name: DomainName
    customer: CustomerId
    header_aliases: tuple[HeaderAlias, ...] = Field(
        (), description="further values of X-Customer-Domain that mean this domain"
    )
    version: VersionField | None = Field(
        None, description="what this stack trains and releases, vX.Y; none without training"
    )
    dataset: Dataset | None = Field(None, description="what it trains on; none without training")
    pools: dict[PoolName, Training | Literal["base"]] = Field(
        min_length=1, description="pools that answer: by an adapter that is trained, or by `base`"
    )
    gate: Gate | None = Field(
        None, description="what a version must pass before it goes live; none without training"
    )
    routing: Routing = Routing()
    key_serials: tuple[int, ...] = Field(
        (1,), min_length=1, description="valid keys; add a number to rotate, remove the old later"
    )
    mlflow_serial: int = Field(
        1, ge=1, description="password with which training logs in to MLflow; raise it to rotate"
    )

    @model_validator(mode="after")
    def _trains_whole_or_not_at_all(self) -> Self:
        given = {"version": self.version, "dataset": self.dataset, "gate": self.gate}
        absent = [name for name, value in given.items() if value is None]
        unused = [name for name in given if name not in absent]
        if self.adapters and absent:
            raise ValueError(
                f"{absent[0]} is missing: pools.{next(iter(self.adapters))} trains an adapter, "
                f"which needs {', '.join(absent)}: add what is missing, or set the pool to `base`"
            )
        if not self.adapters and unused:
            raise ValueError(
                f"{unused[0]}: every pool is `base`, so nothing is trained: remove "
                f"{', '.join(unused)}, or train an adapter in a pool"
            )
        if not self.adapters and self.routing.before_first_release != "refuse":
            raise ValueError(
                "routing.before_first_release: nothing is released here, and base models answer "
                "always: remove it"
            )
        return self

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        if self.name in self.header_aliases or len(set(self.header_aliases)) != len(
            self.header_aliases
        ):
            raise ValueError("header_aliases: each once, and not the domain's own name")
        return self

    @property
    def adapters(self) -> dict[PoolName, Training]:
        """The pools that get an adapter."""
        return {name: pool for name, pool in self.pools.items() if isinstance(pool, Training)}

    @property
    def trained(self) -> "TrainedDomain | None":
        """The domain with what it trains; None when base models answer for it."""
        return TrainedDomain.model_validate(dict(self)) if self.adapters else None


class TrainedDomain(DomainConfig):
    """A domain whose stack trains adapters and releases them."""

    version: VersionField = Field(description="what this stack trains and releases, vX.Y")
    dataset: Dataset = Field(description="what it trains on")
    gate: Gate = Field(description="what a version must pass before it goes live")
