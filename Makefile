# Every target sets up what it needs; `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
INSTALLED := $(VENV)/.installed
BENCH := .venv-bench

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

install: $(INSTALLED) ## make .venv and install crow with the tested versions

lint: $(INSTALLED) ## ruff
	$(BIN)/ruff check .

types: $(INSTALLED) ## mypy, over the package as it installs (pipelines and cli inside crow)
	@rm -rf build/types && mkdir -p build/types/crow
	@ln -s $(CURDIR)/crow/* $(CURDIR)/pipelines $(CURDIR)/cli build/types/crow/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache

test: lint types ## ruff, mypy and pytest
	$(BIN)/python -m pytest -n 2

$(BENCH)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install -q -c constraints.txt -e '.[dev,benchmark]'
	touch $@

bench: $(BENCH)/.installed ## the speed of crow beside other libraries, into benchmarks/results
	$(BENCH)/bin/python benchmarks/speed_coupling.py
	$(BENCH)/bin/python benchmarks/speed_coupling.py --compiled
	$(BENCH)/bin/python benchmarks/speed_recurrent.py
	$(BENCH)/bin/python benchmarks/speed_recurrent.py --compiled
	$(BENCH)/bin/python benchmarks/memory_reversible.py
	$(BENCH)/bin/python benchmarks/train_time.py

clean: ## remove the environment and what the targets made
	rm -rf $(VENV) $(BENCH) $(DEMO) build
