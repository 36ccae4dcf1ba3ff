# `make help` lists the commands. What they do is in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
export PYTHONPATH := tests

.PHONY: bundle release release-version test-arm64 test-versions test-postgres test-kind test-projects test-plain-dbt bench-dbt-patches bench-many-models bench-previews bench-run-log architecture bench-page fuzz help demo demo-preview demo-change break run compare lint test test-slow test-faults test-browser screenshots unit bench bench-refresh clean setup parsed lock generate transcript check docs docs-dbt bench-dbt bench-operator bench-changes bench-reuse bench-replicas

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## a cluster, a warehouse, an API and refreshes of two dbt projects (20 minutes on a new machine, then a minute)
	@$(PYTHON) -m cluster preflight && $(PYTHON) scripts/demo.py

demo-preview: setup ## push a change of a model to a branch of the running demo, and show which rows it would change (half a minute; after make demo)
	@$(PYTHON) scripts/demo_preview.py

demo-change: setup ## change a model in the Git repository of the running demo, run it, and show the rows that changed (half a minute; after make demo)
	@$(PYTHON) scripts/demo_change.py

break: setup ## break the running demo in five ways, show what people see, and repair it (three minutes; after make demo)
	@$(PYTHON) scripts/breaking.py

run: parsed ## one refresh without Kubernetes, on a PostgreSQL from a wheel (ROWS=10000)
	@$(PYTHON) scripts/run.py

compare: parsed ## run the old Prefect flow and a refresh on the same data and compare them (ROWS=10000)
	@$(PYTHON) scripts/compare.py

lint: parsed ## check a refresh against a dbt project: make lint FILE=deploy/samples/phase2.yaml (PROJECT=dbt_project)
	@.venv/bin/refresh-runner lint $(or $(FILE),$(error name a file: make lint FILE=deploy/samples/phase2.yaml)) --project $(or $(PROJECT),dbt_project)

test: parsed ## unit, integration and end-to-end tests (half an hour on a new machine, then minutes)
	@scripts/test

test-kind: parsed ## the demo and the end-to-end tests on kind, with Docker's engine or one of our own (half an hour on a new machine)
	@scripts/test-kind

test-plain-dbt: parsed ## the runner's integration tests without the optional patches of dbt (ten minutes)
	@REFRESH_DBT_PATCHES=off $(PYTHON) -m pytest -q -n $(or $(WORKERS),3) tests/integration/runner

bench-dbt-patches: setup ## what each optional patch of dbt saves a run, in processor time (RUNS=5)
	@$(PYTHON) -m bench.dbt_patches --runs $(or $(RUNS),5)

bench-many-models: setup ## a project of many small models, compared with plain dbt in processor time (ten minutes; MODELS=300 RUNS=3)
	@mkdir -p .state/bench
	@$(PYTHON) -m bench.many_models --models $(or $(MODELS),300) --runs $(or $(RUNS),3)

bench-previews: setup ## a preview compared with a run of the same models, on a mart of a million rows (ROWS=1000000 RUNS=5)
	@mkdir -p .state/bench
	@$(PYTHON) -m bench.previews --rows $(or $(ROWS),1000000) --runs $(or $(RUNS),5)

bench-run-log: setup ## the queries of a run log with five million rows of nodes (two minutes; ROWS=5000000)
	@mkdir -p .state/bench
	@$(PYTHON) -m bench.run_log --rows $(or $(ROWS),5000000)

bench: bench-refresh bench-changes bench-operator bench-page bench-dbt ## all benchmarks, each with its goals

bench-refresh: parsed ## a refresh compared with the old flow and with its SQL alone, and what readers see (ROWS=10000 RUNS=5 SEED=7; OLD=no leaves the old flow out)
	@mkdir -p .state/bench
	@$(PYTHON) -m bench.refresh --rows $(or $(ROWS),10000) --runs $(or $(RUNS),5) --seed $(or $(SEED),7) $(if $(filter no,$(OLD)),--without-old) --judge-later .state/bench/refresh.name
	@$(PYTHON) -m bench.readers --judge-later .state/bench/readers.name
	@$(PYTHON) -m bench.verdicts $$(cat .state/bench/refresh.name) $$(cat .state/bench/readers.name)

bench-changes: parsed ## a refresh after one record in a hundred was corrected, compared with a full one (ROWS=10000 RUNS=5 SEED=7)
	@$(PYTHON) -m bench.changes --rows $(or $(ROWS),10000) --runs $(or $(RUNS),5) --seed $(or $(SEED),7)

bench-reuse: parsed ## a refresh with unchangedPolicy: Reuse after small changes, as a share of a whole run (ROWS=10000 RUNS=5 SEED=7)
	@mkdir -p .state/bench
	@$(PYTHON) -m bench.reuse --rows $(or $(ROWS),10000) --runs $(or $(RUNS),5) --seed $(or $(SEED),7)

bench-replicas: setup ## what readers on a hot standby see while marts are published on its primary (twelve minutes; BENCH_OPTIONS="--publishes 12")
	@$(PYTHON) -m bench.replicas $(BENCH_OPTIONS)

bench-operator: setup ## the operator with 1,000 refreshes on a real API server (half an hour; BENCH_OPTIONS="--count 5000")
	@$(PYTHON) -m bench.operator_at_scale $(BENCH_OPTIONS)

bench-page: setup ## the page with 1,000 refreshes on a real API server (three minutes)
	@$(PYTHON) -m bench.page_at_scale

test-slow: parsed ## the integration and end-to-end tests that make test leaves out because they take long (fifteen minutes)
	@scripts/test-slow

test-faults: parsed ## inject faults: restarts, kills, timeouts, full disks, poolers; and slow tests (up to an hour)
	@scripts/test-faults

test-projects: parsed ## many small dbt projects and public ones: plain dbt, Direct and Swap compared in every respect (up to 40 minutes)
	@scripts/test-projects

test-postgres: parsed ## the runner's tests on PostgreSQL 14 to 18, and as on a managed service (forty minutes; VERSIONS="14 16")
	@scripts/test-postgres

test-versions: parsed ## the tests of operator, chart and cluster on several versions of Kubernetes (half an hour a version, once built 10 minutes; VERSIONS="1.31 1.33")
	@scripts/test-versions

bundle: setup ## a folder in dist with images, chart, CRDs and plugin of this checkout as it is, to install without a registry (minutes)
	@PYTHONPATH=tests:scripts $(PYTHON) -m release bundle

release: setup ## a release in dist/x.y.z, from a clean checkout: make release VERSION=x.y.z (KEY=ssh key that signs, URL=address for krew, IMAGES=folder with other architectures)
	@PYTHONPATH=tests:scripts $(PYTHON) -m release release "$$VERSION" $${KEY:+--key "$$KEY"} $${URL:+--url "$$URL"} $${IMAGES:+--images "$$IMAGES"}

release-version: setup ## write a version into the chart, the distributions and CHANGELOG.md: make release-version VERSION=x.y.z
	@PYTHONPATH=tests:scripts $(PYTHON) -m release version "$$VERSION"

test-arm64: setup ## each Python package that the images install has a wheel for arm64 (half a minute)
	@scripts/test-arm64

fuzz: setup ## hostile specs, statuses, rows and files for API server, operator, page, plugin, runner and lint (CASES=1000 SEED=21; seven minutes)
	@FUZZ_CASES=$(or $(CASES),1000) $(PYTHON) -m pytest -q tests/integration/contract/test_models_and_schema.py -k disagree --hypothesis-seed=$(or $(SEED),21)
	@FUZZ_CASES=$(or $(CASES),1000) $(PYTHON) -m pytest -q tests/fuzz --hypothesis-seed=$(or $(SEED),21) && echo "fuzz: $(or $(CASES),1000) cases for each of 12 targets of values, a quarter as many for each of 2 targets of pages; seed $(or $(SEED),21)"

test-browser: setup ## the page in a real browser, Debian's chromium (two minutes)
	@scripts/test-browser

screenshots: setup ## take the screenshots of the page in docs/images
	@scripts/test-browser --screenshots docs/images

clean: ## remove everything: processes, mounts, network namespaces, containers (CLUSTER=existing: also the demo on a cluster of yours)
	@CLUSTER=$(CLUSTER) scripts/clean

setup: ## create the development environment in .venv (quick if nothing changed)
	@scripts/setup

parsed: setup ## parse the dbt project once for all runs (quick if nothing changed)
	@.venv/bin/refresh-runner parse --project dbt_project >/dev/null

lock: setup ## lock the dependencies, with hashes
	@scripts/lock

generate: setup ## write the generated files: the CRD and its copy in the chart, the compiled translations, the guide's table of differences
	@$(PYTHON) scripts/generate.py && $(PYTHON) scripts/translations.py && $(PYTHON) scripts/differences.py

architecture: setup ## draw the packages in ARCHITECTURE.md from the import graph
	@$(PYTHON) scripts/architecture.py

transcript: setup ## write the transcript in docs/using.md from the demo's cluster (after make demo)
	@$(PYTHON) scripts/transcript.py

docs: setup ## build the guide as a site in .state/docs
	@.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going docs .state/docs && echo "docs: open .state/docs/index.html"

docs-dbt: setup ## build the dbt project's documentation as one file, and draw its lineage
	@$(PYTHON) scripts/lineage.py

bench-dbt: setup ## the dbt project on big sources: times, plans, and every cell compared with a known truth (ROWS=1000000: 10 minutes, 5 GB)
	@$(PYTHON) -m bench.dbt_at_size --rows $(or $(ROWS),1000000) --truth

check: setup ## format, lint, types, import rules, drawings, spelling, wording
	@scripts/check

unit: setup ## unit tests (seconds)
	@$(PYTHON) -m pytest -q tests/unit
