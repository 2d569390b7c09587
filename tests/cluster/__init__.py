"""Tests on a real Kubernetes: `make test-cluster` compiles its programs and runs them.

`api_server` starts the API alone, `node` a whole node. Tests are skipped, with the reason, where
programs or rights are missing; where the variable CI is set, a missing program is an error.
"""
