"""The control plane of the local edge: route objects in a folder become what Envoy serves."""

import json
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from serving.edge.bootstrap import render_bootstrap, xds_files
from serving.edge.config import EdgeConfig
from serving.edge.files import RouteFolder, replace_file
from serving.edge.gateway import translation_input
from serving.edge.routes import conflicts
from serving.edge.xds import TranslationError, Xds, discovery_response, local_xds, union

_LOG: Final = logging.getLogger("edge")
_TRANSLATION_S: Final = 120
_RETRY_S: Final = 10.0
# Envoy reads the files one by one; a cluster goes only when no route can name it any more.
_SETTLE_S: Final = 2.0

Translate = Callable[[str], str]


def translate_with_egctl(egctl: Path) -> Translate:
    """Return a function that runs the translator on YAML documents.

    It raises TranslationError when the translator fails.
    """

    def translate(objects: str) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as source:
            source.write(objects)
            source.flush()
            options = ("--from", "gateway-api", "--to", "xds", "--output", "yaml")
            argv = (str(egctl), "experimental", "translate", *options, "--file", source.name)
            try:
                done = subprocess.run(
                    argv, capture_output=True, text=True, timeout=_TRANSLATION_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise TranslationError(f"the translator {egctl} did not run: {error}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise TranslationError(lines[-1])
        return done.stdout

    return translate


@dataclass(frozen=True)
class Served:
    """One generation of what Envoy serves."""

    xds: Xds
    routes: dict[str, dict[str, Any]]
    """Route objects by file name."""


class Controller:
    """Follows the folder of routes; a bad file keeps its last good state and harms no other."""

    def __init__(self, config: EdgeConfig, translate: Translate) -> None:
        self._config = config
        self._translate = translate
        self._files = xds_files(config)
        self._folder = RouteFolder(config)
        self._served: Served | None = None
        self._problems: dict[str, str] = {}
        self._seen: object = None
        self._again = 0.0
        self._settled = True

    def step(self) -> bool:
        """Look at the folder once and write what changed; say whether anything was served anew."""
        now = time.monotonic()
        signature = self._folder.signature()
        if signature == self._seen and not (self._again and now >= self._again):
            return False
        self._seen, self._again = signature, 0.0
        routes, problems = self._folder.read(self._served.routes if self._served else {})
        routes, xds = self._serveable(routes, problems)
        self._report(problems)
        if xds is None:
            self._again = now + _RETRY_S
            return False
        self._write(Served(xds, routes))
        self._write_status()
        return True

    def settle(self) -> None:
        """Drop the clusters that the last change left without routes."""
        if self._served and not self._settled:
            replace_file(Path(self._files.clusters), discovery_response(self._served.xds.clusters))
            self._settled = True

    def run(self) -> None:
        """Follow the folder until the process ends."""
        replace_file(self._config.xds_dir / "bootstrap.yaml", render_bootstrap(self._config))
        changed_at = 0.0
        while True:
            if self.step():
                changed_at = time.monotonic()
            elif time.monotonic() - changed_at > _SETTLE_S:
                self.settle()
            time.sleep(self._config.interval_s)

    def _serveable(
        self, routes: dict[str, dict[str, Any]], problems: dict[str, str]
    ) -> tuple[dict[str, dict[str, Any]], Xds | None]:
        """Translate all routes; where that fails, find and leave out those at fault."""
        try:
            xds = self._translated(routes.values())
        except TranslationError as error:
            good = {
                name: route for name, route in routes.items() if self._alone(name, route, problems)
            }
            if len(good) == len(routes):
                problems["translator"] = str(error)
                return routes, None
            return self._serveable(good, problems)
        problems.update(conflicts(routes))
        served = xds.route_names()
        for name, route in routes.items():
            metadata = route["metadata"]
            if f"{metadata['namespace']}/{metadata['name']}" not in served:
                problems[name] = (
                    "the translator made no route of it: are its names and ports right?"
                )
        return routes, xds

    def _alone(self, name: str, route: dict[str, Any], problems: dict[str, str]) -> bool:
        try:
            self._translated([route])
        except TranslationError as error:
            problems[name] = str(error)
            return False
        return True

    def _translated(self, routes: Iterable[dict[str, Any]]) -> Xds:
        answer = self._translate(translation_input(self._config, routes))
        return local_xds(self._config, answer, self._files)

    def _write(self, served: Served) -> None:
        before = self._served.xds.clusters if self._served else []
        clusters = union(before, served.xds.clusters)
        replace_file(Path(self._files.clusters), discovery_response(clusters))
        replace_file(Path(self._files.routes), discovery_response(served.xds.routes))
        replace_file(Path(self._files.listeners), discovery_response(served.xds.listeners))
        self._settled = len(clusters) == len(served.xds.clusters)
        self._served = served
        names = ", ".join(sorted(Path(name).stem for name in served.routes)) or "none"
        _LOG.info("serving %d domains: %s", len(served.routes), names)

    def _report(self, problems: dict[str, str]) -> None:
        for name, problem in problems.items():
            if self._problems.get(name) != problem:
                _LOG.error("%s: %s", name, problem)
        self._problems = problems
        self._write_status()

    def _write_status(self) -> None:
        status = {
            "pid": os.getpid(),
            "serving": sorted(self._served.routes) if self._served else [],
            "problems": self._problems,
        }
        replace_file(self._config.xds_dir / "status.json", json.dumps(status, indent=1))
