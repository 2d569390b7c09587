"""These tests run in the environment that runs the code.

.venv-serving/bin/python -m pytest tests/serving
"""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# The infrastructure environment has no metrics library: it collects none of these tests.
if find_spec("prometheus_client") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from hypothesis import HealthCheck, settings

    # A busy machine makes an example slow, not wrong.
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")
    from fixtures import mlflow_url, mlflow_with_users, request_path, world

    __all__ = ["mlflow_url", "mlflow_with_users", "request_path", "world"]
