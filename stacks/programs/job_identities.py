"""Roles in AWS of the jobs of one domain's release."""

from collections.abc import Mapping, Sequence
from functools import partial

import pulumi
import pulumi_aws as aws

from components.job_accounts import account_of
from registry.release import StepKind
from stacks.contract import AwsPlace
from stacks.policies.names import Account
from stacks.policies.steps import step_access, step_permissions
from stacks.programs.cluster.identities import Identities


def declare_job_identities(
    place: AwsPlace,
    provider: aws.Provider,
    *,
    namespace: str,
    domain: str,
    inputs: Mapping[StepKind, Sequence[str]],
) -> tuple[pulumi.Resource, ...]:
    """Declare a role for each kind of job, given to its ServiceAccount.

    Args:
        place: The account of the environment.
        provider: Of that account.
        namespace: Of the jobs.
        domain: Name of the domain.
        inputs: By kind of step, the `s3://` URIs that its jobs fetch.

    Returns:
        What the jobs must not start before.

    Raises:
        ValueError: A job would read data of another domain, or from somewhere else.
    """
    identities = Identities(
        provider=provider,
        account=Account(account=place.account, region=place.region, prefix=place.prefix),
        cluster=place.cluster,
        storage_key=place.storage_key,
        signing_key=place.signing_key,
        tags=place.tags,
    )
    ready: list[pulumi.Resource] = []
    for kind, uris in inputs.items():
        identity = identities.of_pods(
            identities.account.role_name(domain, kind),
            capacity=kind,
            namespace=namespace,
            service_account=account_of(domain, kind),
            statements=partial(
                step_permissions,
                kind=kind,
                accesses=step_access(identities.account, kind, domain, uris),
            ),
        )
        ready += identity.ready
    return tuple(ready)
