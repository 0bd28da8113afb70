# One file of commands; `make` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# Services and commands are started hundreds of times: their code is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check faults bench compose-test format map lock clean

help: ## list these commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## set up and start the whole suite with a demo space (Ctrl-C stops it)
	@$(BIN)/python -m deploy.cli run

test: $(VENV)/dev.stamp ## set up and pass every test (real PostgreSQL, real RabbitMQ)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(VENV)/dev.stamp ## format, lint, strict types, import contracts, then the tests
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

faults: $(VENV)/dev.stamp ## break everything on purpose and check that nothing is lost (ONLY=name for one scenario)
	@$(BIN)/python -m tests.faults $(ONLY)
	@[ -n "$(ONLY)" ] || COWORK_HYPOTHESIS=long $(BIN)/python -m pytest -q tests/shared/bus/test_pipeline_machine.py

bench: $(VENV)/dev.stamp ## measure against the raw limits of this machine (ONLY=name for one figure)
	@$(BIN)/python -m tests.bench $(ONLY)

compose-test: $(VENV)/compose.stamp ## bring up docker compose, use it, kill, back up, restore (RABBITMQ=3.10 for the oldest broker)
	@$(BIN)/python -m tests.compose --rabbitmq $(or $(RABBITMQ),4)

format: $(VENV)/dev.stamp ## rewrite the code in the house format
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

map: $(VENV)/dev.stamp ## renew the generated blocks of every README
	@$(BIN)/python -m deploy.map

lock: $(VENV)/dev.stamp ## renew the hash locks from requirements/*.in
	@$(BIN)/python -m pip install --quiet uv
	@for name in service pictures billing tools run dev compose; do $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-header requirements/$$name.in -o requirements/$$name.lock; done

clean: ## remove the environment and every cache (data under var/ stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cowork needs Python 3.11 or newer (set PYTHON=…)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing (Debian: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: requirements/%.lock | $(VENV)/bin/python
	@echo "installing $* dependencies (hash-locked)…"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
