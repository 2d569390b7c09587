"""Waits until a model server has nothing to do, before it is stopped.

Runs in the image of vLLM, from the pod's configuration: only the standard library, no imports of
the project.
"""

import argparse
import re
import sys
import time
import urllib.error
import urllib.request

_BUSY = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_POLL_S = 1.0
_TIMEOUT_S = 5


def requests_in(exposition: str) -> float:
    """Requests that run or wait, as vLLM's metrics say."""
    return sum(float(value) for value in _BUSY.findall(exposition))


def wait_until_idle(metrics_url: str, *, settle_s: float, limit_s: float) -> bool:
    """Wait until there is no request left. A server that has ended has none.

    Args:
        metrics_url: Of vLLM.
        settle_s: Time in which routers learn that this pod goes; requests may come until then.
        limit_s: Longest time to wait after that.

    Returns:
        Whether it became idle in time.
    """
    time.sleep(settle_s)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if _is_idle(metrics_url):
            return True
        time.sleep(_POLL_S)
    return False


def _is_idle(metrics_url: str) -> bool:
    try:
        with urllib.request.urlopen(metrics_url, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return requests_in(answer.read().decode()) == 0
    except urllib.error.URLError as error:
        return isinstance(error.reason, ConnectionRefusedError)
    except OSError:
        # Too busy to answer is not idle.
        return False


def main() -> int:
    """Exit status 1: requests were still running at the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--settle", type=float, required=True, help="seconds")
    parser.add_argument("--limit", type=float, required=True, help="seconds")
    arguments = parser.parse_args()
    is_idle = wait_until_idle(arguments.metrics, settle_s=arguments.settle, limit_s=arguments.limit)
    return 0 if is_idle else 1


if __name__ == "__main__":
    sys.exit(main())
