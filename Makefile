# Any Linux with Python 3.11 or newer. `make` alone says what there is.
PYTHON ?= python3
VENV ?= .venv
LOWEST ?= .venv-lowest
ARGS ?=
BIN := $(VENV)/bin/python
LOWEST_BIN := $(LOWEST)/bin/python
TESTS := -m pytest -n 2 --dist loadgroup -m "not slow"

.DEFAULT_GOAL := help
.PHONY: help demo evidence test test-lowest lint bench attacks clean

help: ## show this
	@echo "make TARGET [PYTHON=$(PYTHON)] [ARGS=...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.with-experiments ## joint training beside three remedies: under 5 minutes on 2 cores, then a page
	$(BIN) experiments/study.py demo $(ARGS)

evidence: $(VENV)/.with-experiments ## the paper's claims over ten seeds: hours on 2 cores, resumable
	$(BIN) experiments/study.py claims $(ARGS)

test: $(VENV)/.with-dev ## all tests but the slow ones
	$(BIN) $(TESTS) $(ARGS)

# Old releases are called deprecated by what they themselves need in its newest release.
test-lowest: $(LOWEST)/.with-dev ## the same, with the lower bound of every dependency
	$(LOWEST_BIN) $(TESTS) -W ignore::DeprecationWarning -W ignore::FutureWarning $(ARGS)

lint: $(VENV)/.with-dev ## ruff and mypy
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .
	$(BIN) -m mypy

bench: $(VENV)/.with-experiments ## the benchmarks of time and memory; each prints JSON
	@set -e; for file in $(filter-out benchmarks/attacks.py benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do \
	  echo "$$file"; $(BIN) "$$file" $(ARGS); done

attacks: $(VENV)/.with-dev ## thousands of hostile inputs: is anything lost, falsified or let in?
	$(BIN) benchmarks/attacks.py $(ARGS)

clean: ## remove the environments, runs and caches
	rm -rf $(VENV) $(LOWEST) runs multirun build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are older than pyproject.toml after any change of it, so that pip runs again.
# `venv` runs also over a half-made environment and completes it. Pip 25.1 is the first with --group.
define MAKE_VENV
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  f"PYTHON={sys.executable} is {sys.version.split()[0]}; give PYTHON=python3.11 or newer")'
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
endef

$(VENV)/.with-experiments: pyproject.toml
	$(call MAKE_VENV,$(VENV))
	$(BIN) -m pip install -e '.[experiments]'
	@touch $@

$(VENV)/.with-dev: $(VENV)/.with-experiments
	$(BIN) -m pip install --group dev
	@touch $@

# An environment of its own: pip would otherwise take what is there already for old enough.
$(LOWEST)/.with-dev: pyproject.toml .ci/lowest.py
	$(call MAKE_VENV,$(LOWEST))
	$(LOWEST_BIN) -m pip install --quiet packaging
	$(LOWEST_BIN) .ci/lowest.py pyproject.toml > $(LOWEST)/lowest.txt
	$(LOWEST_BIN) -m pip install -e '.[experiments]' --group dev -c $(LOWEST)/lowest.txt
	@touch $@
