# Every target sets up what it needs; `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Options that change the demo: make demo SIMULATE="--subjects 500" SCANS="--subjects 40 --resolution 2"
SIMULATE ?=
TRAIN ?=
SCANS ?= --subjects 12 --visits 3 --resolution 3
TRAIN_SCANS ?= --set scans.resolution=3
INSTALLED := $(VENV)/.installed
BENCH := .venv-bench
LEASPY_ENV := .venv-leaspy
# Its table and settings: make leaspy LEASPY="--simulate 0"
LEASPY ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test browser lint types notebooks bench leaspy clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

install: $(INSTALLED) ## make .venv and install crow with the tested versions

demo: $(INSTALLED) ## simulate cohorts of regions and of scans, train, forecast, score, evaluate, report, write a follow-up scan; in demo/
	rm -rf $(DEMO)
	$(BIN)/crow simulate --out $(DEMO) $(SIMULATE)
	$(BIN)/crow check $(DEMO)/cohort.csv
	$(BIN)/crow train --cohort $(DEMO)/cohort.csv --out $(DEMO)/run $(TRAIN)
	$(BIN)/crow generate --run $(DEMO)/run --subject 9002 --at 1,2,3,5 --unit mm³ --out $(DEMO)/forecast.csv --figure $(DEMO)/forecast.png
	$(BIN)/crow score --run $(DEMO)/run --cohort $(DEMO)/cohort.csv --out $(DEMO)/scores.csv --figure $(DEMO)/scores.png
	$(BIN)/crow train --cohort $(DEMO)/cohort.csv --out $(DEMO)/judged --set split.test=0.2 $(TRAIN)
	$(BIN)/crow evaluate --run $(DEMO)/judged
	$(BIN)/crow report --run $(DEMO)/judged
	$(BIN)/crow simulate --scans --out $(DEMO)/scans $(SCANS)
	$(BIN)/crow train --cohort $(DEMO)/scans --out $(DEMO)/scan_run $(TRAIN_SCANS)
	$(BIN)/crow generate --run $(DEMO)/scan_run --subject 0003 --at 2 --out $(DEMO)/followup
	@printf '%s\n' 'Made:' \
		'  $(DEMO)/cohort.csv           the invented cohort (truth.csv and truth.json beside it)' \
		'  $(DEMO)/run                  the fitted model, loaded with --run' \
		'  $(DEMO)/run/training.png     picture: how the training went' \
		'  $(DEMO)/forecast.csv         five years of subject 9002' \
		'  $(DEMO)/forecast.png         picture: its trajectories' \
		'  $(DEMO)/scores.csv           log-likelihood and z of every visit' \
		'  $(DEMO)/scores_subjects.csv  log-likelihood of every subject' \
		'  $(DEMO)/scores.png           picture: unusual visits' \
		'  $(DEMO)/judged/evaluation    how good a model is on people it did not see' \
		'  $(DEMO)/judged/report.html   page: all of that, to open in a browser' \
		'  $(DEMO)/scans                an invented BIDS tree of brain scans (its truth in derivatives/)' \
		'  $(DEMO)/scan_run_store       the scans, prepared; a picture of each in qc/index.html' \
		'  $(DEMO)/scan_run             the model fitted to them' \
		'  $(DEMO)/followup             a follow-up scan, its uncertainty, the change, and a picture'

lint: $(INSTALLED) ## ruff
	$(BIN)/ruff check .

types: $(INSTALLED) ## mypy, over the package as it installs (pipelines and cli inside crow)
	@rm -rf build/types && mkdir -p build/types/crow
	@ln -s $(CURDIR)/crow/* $(CURDIR)/pipelines $(CURDIR)/cli build/types/crow/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache

# The tests of the report look at it in a browser; without one they skip, and say so.
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$name >/dev/null 2>&1 && exit 0; \
	done; \
	command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ] || exit 0; \
	echo "Installing chromium, for the tests of the report"; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
		|| echo "It could not be installed: those tests will skip."

test: lint types browser ## ruff, mypy and pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

notebooks: $(INSTALLED) ## run the notebooks again and keep what comes out (NOTEBOOKS="03_what_if.ipynb": some)
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/rerun.py $(NOTEBOOKS)

$(BENCH)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install -q -c constraints.txt -e '.[dev,benchmark]'
	touch $@

bench: $(BENCH)/.installed ## the speed of crow beside other libraries, into benchmarks/results
	$(BENCH)/bin/python benchmarks/speed_coupling.py
	$(BENCH)/bin/python benchmarks/speed_coupling.py --compiled
	$(BENCH)/bin/python benchmarks/speed_recurrent.py
	$(BENCH)/bin/python benchmarks/speed_recurrent.py --compiled
	$(BENCH)/bin/python benchmarks/speed_images.py
	$(BENCH)/bin/python benchmarks/memory_reversible.py
	$(BENCH)/bin/python benchmarks/train_time.py

# leaspy wants older numpy, pandas and torch than those of constraints.txt.
$(LEASPY_ENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LEASPY_ENV)
	$(LEASPY_ENV)/bin/python -m pip install -q -e . 'leaspy==2.1.0' 'scoringrules>=0.7'
	touch $@

leaspy: $(LEASPY_ENV)/.installed ## forecasts by leaspy, for benchmarks/forecast.py to show beside crow's
	OMP_NUM_THREADS=1 $(LEASPY_ENV)/bin/python benchmarks/leaspy_forecast.py $(LEASPY)

clean: ## remove the environment and what the targets made
	rm -rf $(VENV) $(BENCH) $(LEASPY_ENV) $(DEMO) build
