# `make help` lists the tasks. Everything is installed in .venv and nowhere else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs ten times as fast as pip; where it cannot reach the registry, pip does the work.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r $(1) \
	|| $(BIN)/pip install --quiet --require-hashes -r $(1)
EDITABLE = $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
PYTEST = $(BIN)/python -m pytest
# Tests start hundreds of processes, each of which would compile all over what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:  ## list the tasks
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.build: requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml $(VENV)/.build
	$(call INSTALL,requirements/run.txt)
	$(EDITABLE)
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(call INSTALL,requirements/dev.txt)
	@touch $@

.PHONY: install
install: $(VENV)/.run  ## set up .venv with what running needs

.PHONY: develop
develop: $(VENV)/.dev  ## set up .venv with what developing needs

.PHONY: torch
torch: $(VENV)/.dev  ## add the optional PyTorch to .venv
	$(BIN)/pip install --quiet -r requirements/torch.txt

.PHONY: ray
ray: $(VENV)/.dev  ## add the optional Ray Serve to .venv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements/ray.txt \
		|| $(BIN)/pip install --quiet -r requirements/ray.txt

.PHONY: spark
spark: $(VENV)/.dev  ## add the optional PySpark to .venv (it needs Java)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements/spark.txt \
		|| $(BIN)/pip install --quiet -r requirements/spark.txt

.PHONY: demo
demo: $(VENV)/.run  ## see a model go to production, a bad one be taken back, and a drift be mended
	@$(BIN)/python scripts/demo.py demo/churn

.PHONY: demo-clean
demo-clean:  ## end all that the demo started, and delete it
	@test ! -d demo/churn || $(BIN)/python scripts/demo.py demo/churn --end
	rm -rf demo

.PHONY: airflow
airflow: $(VENV)/.dev  ## start Airflow with the example project's DAG, on this machine only
	@test -d demo/churn || $(BIN)/penstock init demo/churn
	@$(BIN)/python scripts/local_airflow.py demo/churn --home airflow

.PHONY: test
test: $(VENV)/.dev  ## run all tests
	$(PYTEST) tests -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: test-fast
test-fast: $(VENV)/.dev  ## run the tests that take milliseconds
	$(PYTEST) tests -m "not slow" -n 2

.PHONY: check
check: $(VENV)/.dev  ## lint, formatting, types, who imports whom
	$(BIN)/ruff check src tests scripts benchmarks examples
	$(BIN)/ruff format --check src tests scripts benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_tool_rooms.py

.PHONY: format
format: $(VENV)/.dev  ## put the code in shape
	$(BIN)/ruff check --fix --quiet src tests scripts benchmarks examples; true
	$(BIN)/ruff format src tests scripts benchmarks examples

.PHONY: bench-pipeline
bench-pipeline: $(VENV)/.dev  ## measure the pipeline against a plain script, side by side
	$(BIN)/python benchmarks/pipeline.py

.PHONY: bench-features
bench-features: $(VENV)/.dev  ## measure features against Feast's own stores and hand-written plans
	$(BIN)/python benchmarks/features.py

.PHONY: bench-serving
bench-serving: $(VENV)/.dev  ## measure the gateway against other model servers (installs them)
	$(BIN)/python benchmarks/serving.py

.PHONY: bench-rollouts
bench-rollouts: $(VENV)/.dev  ## simulate thousands of rollouts: how often does the judge err?
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/rollouts.py

.PHONY: bench-drift
bench-drift: $(VENV)/.dev  ## how often monitoring cries wolf, and what it misses (installs Evidently)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/drift.py

.PHONY: bench-monitor
bench-monitor: $(VENV)/.dev  ## measure a full report on 10M predictions × 50 features, and more (PARTS="log gateway")
	$(BIN)/python benchmarks/monitor.py $(PARTS)

.PHONY: bench-cdnow
bench-cdnow: $(VENV)/.dev  ## walk through CDNOW month by month: when does retraining pay?
	$(BIN)/python benchmarks/cdnow_walk.py

.PHONY: bench-governance
bench-governance: $(VENV)/.dev  ## measure the ledger against plain inserts and plain hashing
	$(BIN)/python benchmarks/governance.py

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header
.PHONY: lock
lock: $(VENV)/.build  ## rewrite the locked requirements (make lock UPGRADE=--upgrade for newer ones)
	printf 'editables\nhatchling\nuv\n' | $(LOCK) $(UPGRADE) - -o requirements/build.txt
	$(LOCK) $(UPGRADE) pyproject.toml --extra airflow --extra celery --extra dynamodb --extra grpc \
		--extra onnx --extra otlp --extra polars --extra postgres --extra prefect --extra redis --extra s3 --extra xgboost \
		--group dev -o requirements/dev.txt
	$(LOCK) $(UPGRADE) pyproject.toml -c requirements/dev.txt -o requirements/run.txt

.PHONY: clean
clean:  ## delete .venv and everything that was made
	rm -rf $(VENV) build dist demo airflow benchmarks/out .mypy_cache .ruff_cache .pytest_cache
