"""Jobs of releases as Jobs of Kubernetes: submitted, not awaited, and run once by name."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import batch, core, meta

from components.object_store import ObjectStoreAccess
from components.pods import (
    CONFIG_DIRECTORY,
    SCRATCH,
    SecretKey,
    container_security,
    labels_of,
    pod_security,
    secret_variable,
)
from substrates.workload import Job

WORK = "/work"
"""Volume of a job: its inputs, and what it writes before it is in the registry."""
GPU = "nvidia.com/gpu"
_INPUTS = f"{WORK}/inputs"
_ATTEMPTS_AGAIN = 3
_LONGEST_NAME = 63


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a job is given."""

    cpu: str
    memory: str
    disk: str
    """Size of its volume."""


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """A Secret as files."""

    secret: str
    path: str


@dataclass(frozen=True, kw_only=True)
class JobPlacement:
    """Where and under whom the jobs of a domain run."""

    provider: kubernetes.Provider
    namespace: str
    images: Mapping[str, str]
    """Image by name of its environment, by digest."""
    service_accounts: Mapping[str, pulumi.Input[str]]
    """Name of the ServiceAccount by role."""
    object_store: ObjectStoreAccess
    files: Mapping[str, str]
    """Configuration files that every job finds beside its own."""
    secrets: Mapping[str, Mapping[str, SecretKey]]
    """Environment variables from Secrets, by role."""
    mounted: Mapping[str, Mounted]
    """Secrets as files, by role."""
    size: Size
    accelerated_size: Size
    gpus: int = 0
    """GPUs of an accelerated job."""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    """Of the nodes for accelerated jobs."""
    price_class: str = "on-demand"
    """How those nodes were bought: what a run's GPU time is priced by."""
    after: Sequence[pulumi.Resource] = ()
    """What must stand before any job, such as its role."""


class KubernetesJobs:
    """Renders jobs for one domain."""

    def __init__(self, placement: JobPlacement) -> None:
        self._placement = placement

    def job(self, job: Job, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A Job and the ConfigMap that it reads; both go when the release no longer wants them."""
        placement, name = self._placement, object_name(job)
        # A Job is its name, which says a hash of what changes the weights, and the attempt. Another
        # image, size or toleration is for jobs to come: nobody wants a training that runs for days
        # to begin again because of one.
        kept = ["data", "spec", "metadata.labels"]
        options = pulumi.ResourceOptions(
            provider=placement.provider, ignore_changes=kept, depends_on=list(placement.after)
        )
        opts = pulumi.ResourceOptions.merge(opts, options)
        config = core.v1.ConfigMap(
            name,
            metadata=_metadata(name, job, placement),
            immutable=True,
            data={**placement.files, **job.files},
            opts=opts,
        )
        return batch.v1.Job(
            name,
            metadata=_metadata(name, job, placement, {"pulumi.com/skipAwait": "true"}),
            spec=_spec(job, placement, config.metadata.name),
            opts=opts,
        )

    def python(self, image: str) -> str:
        """The interpreter: each image has one."""
        del image
        return "python"

    def file(self, workload: str, name: str) -> str:
        """Path at which a job finds one of its configuration files."""
        del workload
        return f"{CONFIG_DIRECTORY}/{name}"

    def input(self, uri: str) -> str:
        """Path at which a job finds one of its inputs."""
        folder = f"{_INPUTS}/{hashlib.sha256(uri.encode()).hexdigest()[:12]}"
        return folder if uri.endswith("/") else f"{folder}/{uri.rpartition('/')[2]}"

    def data(self, *parts: str) -> str:
        """Path on the job's volume."""
        return "/".join((WORK, *parts))

    def fetch_command(self, job: Job) -> tuple[str, ...]:
        """Brings the job's inputs to its volume."""
        pairs = (f"{uri}={self.input(uri)}" for uri in job.inputs)
        return ("python", "-m", "registry.fetch", *pairs)


def object_name(job: Job) -> str:
    """Name of the Job: a label, so of 63 characters at most; another attempt has another one."""
    suffix = f"-{job.attempt}" if job.attempt else ""
    return f"{job.name[: _LONGEST_NAME - len(suffix)]}{suffix}"


def _metadata(
    name: str, job: Job, placement: JobPlacement, annotations: Mapping[str, str] | None = None
) -> meta.v1.ObjectMetaArgs:
    return meta.v1.ObjectMetaArgs(
        name=name,
        namespace=placement.namespace,
        labels=labels_of(f"job-{job.role}"),
        annotations=annotations,
    )


def _spec(job: Job, placement: JobPlacement, config: pulumi.Input[str]) -> batch.v1.JobSpecArgs:
    return batch.v1.JobSpecArgs(
        backoff_limit=_ATTEMPTS_AGAIN,
        # 2: the configuration is not the program's. Another attempt would say the same.
        pod_failure_policy=batch.v1.PodFailurePolicyArgs(
            rules=[
                batch.v1.PodFailurePolicyRuleArgs(
                    action="FailJob",
                    on_exit_codes=batch.v1.PodFailurePolicyOnExitCodesRequirementArgs(
                        container_name="job", operator="In", values=[2]
                    ),
                ),
                # A spot interruption is no attempt.
                batch.v1.PodFailurePolicyRuleArgs(
                    action="Ignore",
                    on_pod_conditions=[
                        batch.v1.PodFailurePolicyOnPodConditionsPatternArgs(
                            type="DisruptionTarget", status="True"
                        )
                    ],
                ),
            ]
        ),
        template=core.v1.PodTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(
                labels=labels_of(f"job-{job.role}"),
                annotations={
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    "karpenter.sh/do-not-disrupt": "true",
                },
            ),
            spec=_pod(job, placement, config),
        ),
    )


def _pod(job: Job, placement: JobPlacement, config: pulumi.Input[str]) -> core.v1.PodSpecArgs:
    on_gpus = job.accelerated and placement.gpus > 0
    size = placement.accelerated_size if job.accelerated else placement.size
    fetch = [_fetch(job, placement)] if job.inputs else []
    return core.v1.PodSpecArgs(
        service_account_name=placement.service_accounts[job.role],
        automount_service_account_token=False,
        enable_service_links=False,
        restart_policy="Never",
        termination_grace_period_seconds=job.stop_timeout_s,
        node_selector=dict(placement.node_labels) if job.accelerated else None,
        tolerations=[core.v1.TolerationArgs(key=GPU, operator="Exists", effect="NoSchedule")]
        if on_gpus
        else None,
        security_context=pod_security(),
        init_containers=fetch,
        containers=[_container("job", job.command, job, placement, size)],
        volumes=[
            core.v1.VolumeArgs(
                name="config", config_map=core.v1.ConfigMapVolumeSourceArgs(name=config)
            ),
            _scratch("work", size.disk),
            _scratch("scratch", "1Gi"),
            *(_secret_volume(each) for each in _mounted(job, placement)),
        ],
    )


def _fetch(job: Job, placement: JobPlacement) -> core.v1.ContainerArgs:
    command = KubernetesJobs(placement).fetch_command(job)
    small = Size(cpu="250m", memory="512Mi", disk=placement.size.disk)
    return _container("fetch", command, job, placement, small)


def _container(
    name: str, command: tuple[str, ...], job: Job, placement: JobPlacement, size: Size
) -> core.v1.ContainerArgs:
    gpus = placement.gpus if name == "job" and job.accelerated else 0
    devices = {GPU: str(gpus)} if gpus else {}
    held = {"memory": size.memory, "ephemeral-storage": size.disk, **devices}
    secrets = {**placement.object_store.secrets, **placement.secrets.get(job.role, {})}
    values = {
        **placement.object_store.environment,
        "HOME": SCRATCH,
        "PIPELINE_PRICE_CLASS": placement.price_class,
        **job.environment,
    }
    return core.v1.ContainerArgs(
        name=name,
        image=placement.images[job.image],
        command=list(command),
        env=[
            *(core.v1.EnvVarArgs(name=key, value=value) for key, value in values.items()),
            *(secret_variable(key, ref) for key, ref in secrets.items()),
        ],
        resources=core.v1.ResourceRequirementsArgs(requests={"cpu": size.cpu, **held}, limits=held),
        security_context=container_security(),
        volume_mounts=[
            core.v1.VolumeMountArgs(name="config", mount_path=CONFIG_DIRECTORY, read_only=True),
            core.v1.VolumeMountArgs(name="work", mount_path=WORK),
            core.v1.VolumeMountArgs(name="scratch", mount_path=SCRATCH),
            *(
                core.v1.VolumeMountArgs(name=each.secret, mount_path=each.path, read_only=True)
                for each in _mounted(job, placement)
            ),
        ],
    )


def _mounted(job: Job, placement: JobPlacement) -> list[Mounted]:
    return [placement.mounted[job.role]] if job.role in placement.mounted else []


def _secret_volume(mounted: Mounted) -> core.v1.VolumeArgs:
    return core.v1.VolumeArgs(
        name=mounted.secret, secret=core.v1.SecretVolumeSourceArgs(secret_name=mounted.secret)
    )


def _scratch(name: str, size: str) -> core.v1.VolumeArgs:
    return core.v1.VolumeArgs(
        name=name, empty_dir=core.v1.EmptyDirVolumeSourceArgs(size_limit=size)
    )
