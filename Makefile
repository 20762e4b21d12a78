# Any Linux with Python 3.11 or newer. `make` alone says what there is.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help: ## show this
	@echo "make TARGET [PYTHON=$(PYTHON)] [ARGS=...]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-7s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.with-experiments ## joint training beside InfoReg: under 5 minutes on 2 cores, then a page
	$(BIN) experiments/study.py demo $(ARGS)

test: $(VENV)/.with-dev ## all tests but the slow ones
	$(BIN) -m pytest -n 2 --dist loadgroup -m "not slow" $(ARGS)

lint: $(VENV)/.with-dev ## ruff and mypy
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .
	$(BIN) -m mypy

bench: $(VENV)/.with-bench ## every benchmark; each prints JSON
	@set -e; for file in $(wildcard benchmarks/*.py); do \
	  echo "$$file"; $(BIN) "$$file" $(ARGS); done

clean: ## remove the environment, runs and caches
	rm -rf $(VENV) runs multirun build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are older than pyproject.toml after any change of it, so that pip runs again.
# `venv` runs also over a half-made environment and completes it.
$(VENV)/.with-experiments: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  f"PYTHON={sys.executable} is {sys.version.split()[0]}; give PYTHON=python3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN) -m pip install --quiet --upgrade 'pip>=25.1'  # the first with --group
	$(BIN) -m pip install -e '.[experiments]'
	@touch $@

$(VENV)/.with-dev: $(VENV)/.with-experiments
	$(BIN) -m pip install --group dev
	@touch $@

$(VENV)/.with-bench: $(VENV)/.with-experiments
	$(BIN) -m pip install --group bench
	@touch $@
