"""A domain in an environment on Kubernetes: its tenant, and under whom its jobs run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, get_args

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.job_accounts import JobAccounts, JobAccountsArgs
from components.kubernetes_tenant import KubernetesTenant, KubernetesTenantArgs
from components.mlflow_users import Login, MlflowUsers, MlflowUsersArgs
from components.object_store import ObjectStoreAccess, credentials_in
from components.pods import NetworkPeer
from registry.release import StepKind
from serving.edge.policies import Bucket, domain_policy
from stacks.config.domain import DomainConfig, TrainedDomain
from stacks.contract import (
    EnvironmentContract,
    KubernetesPlace,
    ObjectStorePlace,
    TrainingNodes,
)
from stacks.job_specs import inputs_of, training_experiment
from stacks.programs.cluster import access
from stacks.programs.cluster.contract import PUBLIC_KEY
from stacks.programs.cluster.mlflow_users import login_variables
from stacks.programs.cluster.storage import EVALUATION_KEYS
from stacks.programs.job_identities import declare_job_identities
from stacks.programs.place import DomainPlace
from substrates.kubernetes.jobs import JobPlacement, KubernetesJobs, Mounted, Size

_STEPS: Final[tuple[StepKind, ...]] = get_args(StepKind)
_SMALL: Final = Size(cpu="500m", memory="4Gi", disk="20Gi")
_KEPT_VCPU, _KEPT_GIB = 1, 2
"""Of a training node, for what runs on every node."""


def declare_on_kubernetes(
    domain: DomainConfig,
    contract: EnvironmentContract,
    place: KubernetesPlace,
    *,
    record_of: Callable[[Sequence[str]], str],
    http_route: dict[str, Any] | None,
) -> DomainPlace:
    """Declare the tenant, and ServiceAccounts and roles of its jobs where it has any.

    Args:
        domain: The domain.
        contract: What its environment says of itself.
        place: The cluster of it.
        record_of: Renders the tenancy record from the hashes of the valid keys.
        http_route: Its HTTPRoute; None where the environment has no Gateway.

    Raises:
        ValueError: A dataset is not where the domain's jobs may read.
    """
    provider = access.provider(f"{contract.environment}-cluster", place.access)
    tenant = KubernetesTenant(
        domain.name,
        KubernetesTenantArgs(
            provider=provider,
            namespace=contract.namespace,
            key_namespace=place.training_namespace,
            domain=domain.name,
            record_of=record_of,
            key_serials=domain.key_serials,
            http_route=http_route,
            policies=_policies(domain, contract, place),
        ),
    )
    placement = _placement(provider, place)
    if (trained := domain.trained) is not None:
        login = _login(trained, place)
        users = _mlflow_users(login, provider, contract, place)
        placement = replace(
            placement,
            after=(*_identities(trained, contract, place), users.ready),
            secrets={"train": login_variables(login.secret)},
            service_accounts=_accounts(trained, provider, place),
        )
    return DomainPlace(jobs=KubernetesJobs(placement), key=tenant.key)


def _accounts(
    domain: TrainedDomain, provider: kubernetes.Provider, place: KubernetesPlace
) -> Mapping[str, pulumi.Input[str]]:
    accounts = JobAccounts(
        f"{domain.name}-jobs",
        JobAccountsArgs(
            provider=provider,
            namespace=place.training_namespace,
            domain=domain.name,
            roles=_STEPS,
        ),
    )
    return accounts.names


def _login(domain: TrainedDomain, place: KubernetesPlace) -> Login:
    """Training has the experiment of its domain, and may see no other."""
    user = f"domain-{domain.name}"
    return Login(
        user=user,
        serial=domain.mlflow_serial,
        experiment=training_experiment(domain.name),
        permission="EDIT",
        namespace=place.training_namespace,
        secret=f"mlflow-{user}",
    )


def _mlflow_users(
    login: Login,
    provider: kubernetes.Provider,
    contract: EnvironmentContract,
    place: KubernetesPlace,
) -> MlflowUsers:
    return MlflowUsers(
        f"mlflow-{login.user}",
        MlflowUsersArgs(
            provider=provider,
            namespace=place.operations_namespace,
            image=place.infra_image,
            url=contract.mlflow_url,
            admin_secret=place.mlflow_secret,
            logins=(login,),
        ),
    )


def _policies(
    domain: DomainConfig, contract: EnvironmentContract, place: KubernetesPlace
) -> list[dict[str, Any]]:
    if place.requests_per_second is None or place.burst is None:
        return []
    limit = Bucket(per_second=place.requests_per_second, burst=place.burst)
    return [domain_policy(domain.name, contract.namespace, limit)]


def _identities(
    domain: TrainedDomain, contract: EnvironmentContract, place: KubernetesPlace
) -> tuple[pulumi.Resource, ...]:
    """A role in AWS for each kind of job: none can do what another's is for."""
    if place.aws is None:
        return ()
    account = place.aws
    tags = {**account.tags, "domain": domain.name, "customer": domain.customer}
    return declare_job_identities(
        account.model_copy(update={"tags": tags}),
        aws.Provider("aws", region=account.region, allowed_account_ids=[account.account]),
        namespace=place.training_namespace,
        domain=domain.name,
        inputs={step: inputs_of(step, domain, contract) for step in _STEPS},
    )


def _placement(provider: kubernetes.Provider, place: KubernetesPlace) -> JobPlacement:
    """Where jobs run, before anything is declared that they run as."""
    nodes = place.training
    return JobPlacement(
        provider=provider,
        namespace=place.training_namespace,
        images={"infra": place.infra_image, "train": place.train_image},
        service_accounts={},
        object_store=_object_store(place.object_store),
        files={PUBLIC_KEY: place.evaluation_public_key},
        secrets={},
        mounted={"evaluate": Mounted(secret=place.evaluation_secret, path=EVALUATION_KEYS)}
        if place.evaluation_secret
        else {},
        size=_SMALL,
        accelerated_size=_SMALL if nodes is None else _whole(nodes),
        gpus=0 if nodes is None else nodes.gpus,
        node_labels={} if nodes is None else nodes.labels,
        price_class="on-demand" if nodes is None else nodes.price,
    )


def _whole(nodes: TrainingNodes) -> Size:
    """A training job has a node to itself."""
    return Size(
        cpu=str(max(nodes.vcpu - _KEPT_VCPU, 1)),
        memory=f"{max(nodes.ram_gib - _KEPT_GIB - nodes.ram_gib // 10, 1)}Gi",
        disk="200Gi" if nodes.gpus else "20Gi",
    )


def _object_store(place: ObjectStorePlace) -> ObjectStoreAccess:
    secrets = {} if place.secret is None else credentials_in(place.secret)
    peers = tuple(NetworkPeer(cidr=cidr, port=port) for cidr, port in place.networks.items())
    return ObjectStoreAccess(environment=place.environment, secrets=secrets, peers=peers)
