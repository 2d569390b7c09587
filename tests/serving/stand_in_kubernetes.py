"""Stands in for a Kubernetes API server: the list of a namespace's pods, and nodes by name.

Answers in the shape of the API reference (`v1` PodList, Node, Status). Unlike the real one it asks
for no token, takes one of the selectors `key` and `key=value`, never pages, completes no
defaults, and its pods do what the test says.
"""

import json
from pathlib import Path
from typing import Any

from aiohttp import web

from serving.pod_reports.config import POOL_LABEL

Json = dict[str, Any]


def write_kubeconfig(path: Path, url: str) -> None:
    """A kubeconfig that names the stand-in, without a user's credentials."""
    values = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }
    path.write_text(json.dumps(values))


def pod(name: str, *, uid: str, scheduled: str, node: str | None = "node-1", **of: Any) -> Json:
    """A model pod as the API shows it.

    Args:
        name: Its name.
        uid: Its identity.
        scheduled: RFC 3339, to the second, as the API gives it.
        node: None for a pod that waits for a node.
        of: `labels`, `gpus`, `phase`, and `finished`, when its containers ended.
    """
    state = {"running": {"startedAt": scheduled}}
    if of.get("finished"):
        state = {"terminated": {"exitCode": 0, "finishedAt": of["finished"]}}
    statuses = {"name": "vllm", "image": "", "imageID": "", "ready": True, "restartCount": 0}
    spec: Json = {
        "containers": [
            {"name": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(of.get("gpus", 1))}}},
            {"name": "adapter-sync", "resources": {"limits": {"memory": "1Gi"}}},
        ]
    }
    bound = {
        "type": "PodScheduled",
        "status": "False" if node is None else "True",
        "lastTransitionTime": scheduled,
    }
    return {
        "metadata": {
            "name": name,
            "uid": uid,
            "labels": of.get("labels", {POOL_LABEL: "slm"}),
            "creationTimestamp": "2020-01-01T00:00:00Z",
        },
        "spec": spec if node is None else {**spec, "nodeName": node},
        "status": {
            "phase": of.get("phase", "Running"),
            "conditions": [{"type": "Ready", "status": "True"}, bound],
            "containerStatuses": [{**statuses, "state": state}],
        },
    }


class StandInKubernetes:
    """One namespace, `models`, and the nodes."""

    def __init__(self) -> None:
        self.pods: list[Json] = []
        self.nodes: dict[str, dict[str, str]] = {}
        """Labels by name."""
        self.broken = False

    def application(self) -> web.Application:
        """The API."""
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/models/pods", self._pods)
        app.router.add_get("/api/v1/nodes/{name}", self._node)
        return app

    async def _pods(self, request: web.Request) -> web.Response:
        if self.broken:
            return _failure(500, "etcdserver: request timed out")
        key, _, value = request.query["labelSelector"].partition("=")
        found = [
            each
            for each in self.pods
            if (own := each["metadata"]["labels"].get(key)) is not None and value in ("", own)
        ]
        return web.json_response(
            {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": found}
        )

    async def _node(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.nodes:
            return _failure(404, f'nodes "{name}" not found')
        metadata = {"name": name, "labels": self.nodes[name]}
        return web.json_response({"kind": "Node", "apiVersion": "v1", "metadata": metadata})


def _failure(code: int, message: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
    return web.json_response({**status, "code": code}, status=code)
