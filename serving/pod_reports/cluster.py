"""The model pods of a namespace, by the Kubernetes API."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, get_args

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from registry.names import PoolName
from serving.kubernetes_api import connect
from serving.pod_reports.config import POOL_LABEL, PodReportsConfig
from serving.pod_reports.seen import UNKNOWN_NODE, NodeFacts, SeenPod, node_facts

_log: Final = logging.getLogger(__name__)
_GPU: Final = "nvidia.com/gpu"
_OVER: Final = ("Succeeded", "Failed")
_NOT_FOUND: Final = 404


class Cluster:
    """Asks the API server."""

    def __init__(self, settings: PodReportsConfig) -> None:
        """Read how to reach it; nothing is asked yet.

        Raises:
            SettingsError: This is no pod of a cluster, or there is no such kubeconfig.
        """
        self._api = client.CoreV1Api(connect(settings.kubeconfig))
        self._namespace, self._selector = settings.namespace, settings.selector
        self._timeout_s = settings.timeout_s

    def pods(self) -> tuple[SeenPod, ...]:
        """Model pods that have a node, those that ended and are still listed included.

        Raises:
            ApiException: The API refuses.
            urllib3.exceptions.HTTPError: It does not answer.
        """
        listed = self._api.list_namespaced_pod(
            self._namespace, label_selector=self._selector, _request_timeout=self._timeout_s
        ).items
        placed = [pod for pod in listed if pod.spec.node_name]
        nodes = {name: self._node(name) for name in sorted({pod.spec.node_name for pod in placed})}
        found = (_seen(pod, nodes[pod.spec.node_name]) for pod in placed)
        return tuple(pod for pod in found if pod is not None)

    def _node(self, name: str) -> NodeFacts:
        try:
            node = self._api.read_node(name, _request_timeout=self._timeout_s)
        except ApiException as error:
            if error.status != _NOT_FOUND:
                raise
            return UNKNOWN_NODE
        return node_facts(node.metadata.labels or {})


def _seen(pod: Any, node: NodeFacts) -> SeenPod | None:
    """Read a V1Pod; None when it cannot be reported, or ended at a time that nobody noted."""
    name = pod.metadata.name
    pool: Any = (pod.metadata.labels or {}).get(POOL_LABEL)
    if pool not in get_args(PoolName):
        _log.error(
            "pod %s: label %s is %r, which is no pool (%s): its GPU time is not reported",
            name,
            POOL_LABEL,
            pool,
            ", ".join(get_args(PoolName)),
        )
        return None
    finished = None
    if pod.status.phase in _OVER:
        finished = _finished(pod.status)
        if finished is None:
            return None
    return SeenPod(
        uid=pod.metadata.uid,
        pod=name,
        pool=pool,
        gpus=sum(_gpus(container) for container in pod.spec.containers),
        node=node,
        scheduled=_scheduled(pod),
        finished=finished,
    )


def _gpus(container: Any) -> int:
    limits = (container.resources and container.resources.limits) or {}
    return int(limits.get(_GPU, 0))


def _scheduled(pod: Any) -> datetime:
    conditions = pod.status.conditions or ()
    times: Iterable[datetime] = (
        one.last_transition_time
        for one in conditions
        if one.type == "PodScheduled" and one.status == "True" and one.last_transition_time
    )
    # A pod that was bound by hand may lack the condition.
    found: datetime = next(iter(times), pod.status.start_time or pod.metadata.creation_timestamp)
    return found


def _finished(status: Any) -> datetime | None:
    containers = (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
    ended = [one.state.terminated for one in containers if one.state and one.state.terminated]
    return max((one.finished_at for one in ended if one.finished_at), default=None)
