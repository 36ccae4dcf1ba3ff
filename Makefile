# `make help` lists the commands. Each prints what it is doing; the work itself is in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
export PYTHONPATH := tests

.PHONY: help setup lock generate check unit

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## the development environment in .venv (quick when nothing changed)
	@scripts/setup

lock: setup ## lock the dependencies anew, with hashes
	@scripts/lock

generate: setup ## the generated files: CRD, its copy in the chart
	@$(PYTHON) scripts/generate.py

check: setup ## format, lint, types, import rules
	@scripts/check

unit: setup ## unit tests (seconds)
	@$(PYTHON) -m pytest -q tests/unit
