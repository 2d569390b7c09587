"""Jobs under the real supervisor, without the engine."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from substrates.local.supervisor import Supervisor, SupervisorError
from substrates.local.workloads import Spec, WorkloadError, Workloads


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    Supervisor(tmp_path).shutdown()


def _job(home: Path, script: str) -> Spec:
    return Spec(
        name="job",
        job=True,
        command=["/bin/sh", "-c", script],
        cwd=str(home),
        environment={},
        files={},
        ports={},
        health_url="",
        health_timeout_s=0,
        stop_timeout_s=5,
    )


def test_cleaning_up_an_earlier_start_leaves_the_later_one_alone(home: Path) -> None:
    supervisor, spec = Supervisor(home), home / "spec.json"
    spec.write_text(json.dumps({"command": ["/bin/sleep", "60"], "cwd": "/", "environment": {}}))

    def start() -> str:
        return supervisor.start("service", spec=spec, restart=True, stop_timeout_s=5)

    earlier = start()
    later = start()
    supervisor.remove("service", token=earlier)
    assert supervisor.info("service") is not None
    supervisor.remove("service", token=later)
    assert supervisor.info("service") is None


@pytest.mark.parametrize("status", [0, 3])
def test_a_job_that_ends_at_once_runs_once(home: Path, status: int) -> None:
    workloads = Workloads(home)
    workloads.start_job(_job(home, f"echo run >> runs; exit {status}"), wait_s=None)
    _wait_until_settled(home)
    spawned = (home / "supervisor/supervisord.log").read_text().count("spawned: 'job'")
    assert (spawned, (home / "runs").read_text()) == (1, "run\n")
    expected = "succeeded" if status == 0 else "failed (exit status 3)"
    assert workloads.job_state("job") == expected


def _wait_until_settled(home: Path) -> None:
    """Until supervisord has seen the job's end, tried again if it does, and will not any more."""
    deadline = time.monotonic() + 60
    while True:
        # It decides on a retry in the round after the one in which it saw the end. Each call needs
        # a round of its own, so what the second one finds is decided.
        states = [(Supervisor(home).info("job") or {}).get("statename") for _ in range(2)]
        if states in (["EXITED"] * 2, ["FATAL"] * 2):
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.1)


def test_a_job_that_is_waited_for_fails_with_its_log(home: Path) -> None:
    workloads = Workloads(home)
    with pytest.raises(WorkloadError, match=r"(?s)exit status 4.*out of cheese"):
        workloads.start_job(_job(home, "echo out of cheese; exit 4"), wait_s=30)


def test_a_job_that_a_signal_ends_is_lost(home: Path) -> None:
    workloads = Workloads(home)
    workloads.start_job(_job(home, "kill -9 $$"), wait_s=None)
    deadline = time.monotonic() + 30
    while workloads.job_state("job") == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workloads.job_state("job") == "lost"


def test_a_path_that_supervisord_would_split_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "my project"
    home.mkdir()
    with pytest.raises(SupervisorError, match=r"my project contains ' '"):
        Workloads(home).start_job(_job(home, "exit 0"), wait_s=30)


def test_an_interpreter_that_is_missing_is_said(home: Path) -> None:
    job = _job(home, "")
    missing = Spec(**{**vars(job), "command": [str(Path(sys.prefix) / "no-such-program")]})
    with pytest.raises(WorkloadError, match="no-such-program"):
        Workloads(home).start_job(missing, wait_s=30)
