# `make` lists the targets. PYTHON is any Python 3.11; everything else is set up by tools/bootstrap.py.
PYTHON ?= python3
PIPELINE := .venv/bin/pipeline

.DEFAULT_GOAL := help
.PHONY: help setup up down test test-cluster test-environment clean-state

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing; a second run installs nothing
	@$(PYTHON) tools/bootstrap.py

up: setup ## run the whole pipeline on this machine
	@$(PIPELINE) up local --all --demo-approvals

down: ## stop and remove what `make up` started
	@if [ -x $(PIPELINE) ]; then $(PIPELINE) down local --all; else echo "Nothing is set up here."; fi

test: setup ## linting, formatting, types and all tests
	@$(PYTHON) tools/test.py

test-cluster: setup ## tests on a Kubernetes of its own, compiled from source (a node needs root)
	@$(PYTHON) tools/bootstrap.py --group cluster
	@$(PYTHON) tools/test.py cluster

test-environment: setup ## a whole environment with real vLLM on a node of its own (root, 16 GiB, 15 minutes)
	@$(PYTHON) tools/bootstrap.py --group cluster
	@.venv/bin/python -m pytest tests/cluster/test_environment.py

clean-state: down ## also remove the local state: models, adapters, registry, ledger, logs
	@rm -rf .local && echo "Removed .local/."
