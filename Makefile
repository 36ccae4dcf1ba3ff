# `make help` lists the commands. Each prints what it is doing; the work itself is in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
export PYTHONPATH := tests

.PHONY: architecture bench-page fuzz help demo break run compare lint test test-faults test-browser screenshots unit bench bench-refresh clean setup parsed lock generate transcript check docs docs-dbt bench-dbt bench-operator bench-changes bench-replicas

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## a cluster, a warehouse, an API, two refreshes that run (20 minutes on a new machine, then a minute)
	@$(PYTHON) -m cluster preflight && $(PYTHON) scripts/demo.py

break: setup ## five faults on the running demo, and what people see of each; healed at the end (three minutes; after make demo)
	@$(PYTHON) scripts/breaking.py

run: parsed ## one refresh without Kubernetes, on a PostgreSQL from a wheel (ROWS=10000)
	@$(PYTHON) scripts/run.py

compare: parsed ## the old way and ours on the same data, side by side (ROWS=10000)
	@$(PYTHON) scripts/compare.py

lint: parsed ## is this refresh right? make lint FILE=deploy/samples/phase2.yaml (PROJECT=dbt_project)
	@.venv/bin/refresh-runner lint $(or $(FILE),$(error name a file: make lint FILE=deploy/samples/phase2.yaml)) --project $(or $(PROJECT),dbt_project)

test: parsed ## all tests: unit, integration, end to end (half an hour on a new machine, then minutes)
	@scripts/test

bench: bench-refresh bench-changes bench-operator bench-page bench-dbt ## every bench, each with its verdicts

bench-refresh: parsed ## one refresh against the old way and against its SQL alone, and what readers see (ROWS=10000 RUNS=5 SEED=7; OLD=no leaves the old way out)
	@mkdir -p .state/bench
	@$(PYTHON) -m bench.refresh --rows $(or $(ROWS),10000) --runs $(or $(RUNS),5) --seed $(or $(SEED),7) $(if $(filter no,$(OLD)),--without-old) --judge-later .state/bench/refresh.name
	@$(PYTHON) -m bench.readers --judge-later .state/bench/readers.name
	@$(PYTHON) -m bench.verdicts $$(cat .state/bench/refresh.name) $$(cat .state/bench/readers.name)

bench-changes: parsed ## a refresh after one record in a hundred was corrected, beside one that builds everything (ROWS=10000 RUNS=5 SEED=7)
	@$(PYTHON) -m bench.changes --rows $(or $(ROWS),10000) --runs $(or $(RUNS),5) --seed $(or $(SEED),7)

bench-replicas: setup ## what readers on a hot standby see while marts are published on its primary (twelve minutes; BENCH_OPTIONS="--publishes 12")
	@$(PYTHON) -m bench.replicas $(BENCH_OPTIONS)

bench-operator: setup ## the operator with 1,000 refreshes on a real API server (half an hour; BENCH_OPTIONS="--count 5000")
	@$(PYTHON) -m bench.operator_at_scale $(BENCH_OPTIONS)

bench-page: setup ## the page with 1,000 refreshes on a real API server (three minutes)
	@$(PYTHON) -m bench.page_at_scale

test-faults: parsed ## what goes wrong, on purpose: restarts, kills, time-outs, full disks, poolers; and what takes long (up to an hour)
	@scripts/test-faults

fuzz: setup ## hostile specs, statuses, rows and files against API server, operator, page, plugin, runner and lint (CASES=1000 SEED=21; seven minutes)
	@FUZZ_CASES=$(or $(CASES),1000) $(PYTHON) -m pytest -q tests/integration/contract/test_both_doors.py -k disagree --hypothesis-seed=$(or $(SEED),21)
	@FUZZ_CASES=$(or $(CASES),1000) $(PYTHON) -m pytest -q tests/fuzz --hypothesis-seed=$(or $(SEED),21) && echo "fuzz: $(or $(CASES),1000) cases for each of 11 targets of values, a quarter of it for each of 2 of pages; seed $(or $(SEED),21)"

test-browser: setup ## the page in a real browser (Debian's chromium; two minutes)
	@scripts/test-browser

screenshots: setup ## the README's pictures of the page, in docs/images
	@scripts/test-browser --screenshots docs/images

clean: ## leave nothing behind: no process, mount, network namespace, container, image store
	@scripts/clean

setup: ## the development environment in .venv (quick when nothing changed)
	@scripts/setup

parsed: setup ## the dbt project, read once for all runs (quick when nothing changed)
	@.venv/bin/refresh-runner parse --project dbt_project >/dev/null

lock: setup ## lock the dependencies again, with hashes
	@scripts/lock

generate: setup ## the generated files: CRD, its copy in the chart
	@$(PYTHON) scripts/generate.py && $(PYTHON) scripts/translations.py

architecture: setup ## the drawings in ARCHITECTURE.md, from the import graph
	@$(PYTHON) scripts/architecture.py

transcript: setup ## the transcript in docs/using.md, from the demo's cluster (after make demo)
	@$(PYTHON) scripts/transcript.py

docs: setup ## the guide as a site, in .state/docs: open .state/docs/index.html
	@.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going docs .state/docs && echo "the guide: .state/docs/index.html"

docs-dbt: setup ## the dbt project's documentation as one file, and the picture of its lineage
	@$(PYTHON) scripts/lineage.py

bench-dbt: setup ## the dbt project on big sources: times, plans, every cell against the truth (ROWS=1000000: 10 minutes, 5 GB)
	@$(PYTHON) -m bench.dbt_at_size --rows $(or $(ROWS),1000000) --truth

check: setup ## format, lint, types, import rules, spelling, wording
	@scripts/check

unit: setup ## unit tests (seconds)
	@$(PYTHON) -m pytest -q tests/unit
