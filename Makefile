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
DOCS := .venv-docs
LEASPY_ENV := .venv-leaspy
# Its options: make leaspy LEASPY="--simulate 0"
LEASPY ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test full quick fuzz browser lint types coverage wheel plain presets notebooks docs bench leaspy clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

install: $(INSTALLED) ## make .venv and install crow with the tested versions

demo: $(INSTALLED) ## simulate cohorts of regions and of scans; train, forecast, score, evaluate, report, write a follow-up scan; in demo/
	rm -rf $(DEMO)
	$(BIN)/crow simulate --out $(DEMO) $(SIMULATE)
	$(BIN)/crow check $(DEMO)/cohort.csv
	$(BIN)/crow train --cohort $(DEMO)/cohort.csv --test 0.2 --out $(DEMO)/run $(TRAIN)
	$(BIN)/crow generate --run $(DEMO)/run --subject 9002 --at 1,2,3,5 --unit mm³ --out $(DEMO)/forecast.csv --figure $(DEMO)/forecast.png
	$(BIN)/crow score --run $(DEMO)/run --cohort $(DEMO)/cohort.csv --out $(DEMO)/scores.csv --figure $(DEMO)/scores.png
	$(BIN)/crow evaluate --run $(DEMO)/run --baselines simple,mixed
	$(BIN)/crow report --run $(DEMO)/run --subject 9002
	$(BIN)/crow simulate --scans --out $(DEMO)/scans $(SCANS)
	$(BIN)/crow train --cohort $(DEMO)/scans --out $(DEMO)/scan_run $(TRAIN_SCANS)
	$(BIN)/crow generate --run $(DEMO)/scan_run --subject 0003 --at 2 --out $(DEMO)/followup
	@printf '%s\n' 'Results:' \
		'  $(DEMO)/cohort.csv           the simulated cohort, with its truth in truth.csv and truth.json' \
		'  $(DEMO)/run                  the trained model; other commands load it with --run' \
		'  $(DEMO)/run/training.png     picture: training and validation loss' \
		'  $(DEMO)/run_evaluation       comparison with baselines on test subjects' \
		'  $(DEMO)/run_report.html      page: all results, to open in a browser' \
		'  $(DEMO)/forecast.csv         forecast of subject 9002 over five years' \
		'  $(DEMO)/forecast.png         picture: its trajectories' \
		'  $(DEMO)/scores.csv           log-likelihood and z of each visit' \
		'  $(DEMO)/scores_subjects.csv  log-likelihood of each subject' \
		'  $(DEMO)/scores.png           picture: outlier visits' \
		'  $(DEMO)/scans                a simulated BIDS tree of brain scans, with its truth in derivatives/' \
		'  $(DEMO)/scan_run_store       the prepared scans, with pictures in qc/index.html' \
		'  $(DEMO)/scan_run             the model trained on them' \
		'  $(DEMO)/followup             a follow-up scan, its uncertainty, the change and a picture'

lint: $(INSTALLED) ## ruff
	$(BIN)/ruff check .

types: $(INSTALLED) ## mypy, over the package as it installs (with pipelines and cli inside crow)
	@rm -rf build/types && mkdir -p build/types/crow
	@ln -s $(CURDIR)/crow/* $(CURDIR)/pipelines $(CURDIR)/cli build/types/crow/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache

# The tests of the report open it in a browser. Without one, they are skipped.
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$name >/dev/null 2>&1 && exit 0; \
	done; \
	command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ] || exit 0; \
	echo "Installing chromium for the tests of the report"; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
		|| echo "Chromium could not be installed: those tests are skipped."

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: lint types browser ## ruff, mypy and pytest
	$(PYTEST) -m "not slow" --durations=15

full: lint types browser ## make test with the long tests, which check more cases of what others check
	$(PYTEST) --durations=15

# Parts that train no model: tables, layers, settings, options, language.
QUICK := tests/bijections/test_contract.py tests/bijections/test_recurrent_contract.py tests/cohort tests/networks \
	tests/objectives tests/run tests/sequences tests/test_files.py tests/test_language.py tests/cli/test_cli_main.py \
	tests/cli/test_cli_settings.py tests/cli/test_cli_check.py tests/cli/test_cli_simulate.py

quick: $(INSTALLED) ## pytest on the parts that train no model, in under two minutes
	$(PYTEST) $(QUICK)

fuzz: $(INSTALLED) ## damage tables, runs and scans at random, for minutes, with new examples each time
	CROW_FUZZ=fuzz $(PYTEST) tests/safety/test_fuzz.py

coverage: $(INSTALLED) ## the share of lines and branches that the tests run; a page in build/coverage
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

wheel: $(INSTALLED) ## build the wheel into build/wheel
	rm -rf build/wheel build/lib build/bdist*
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w build/wheel .
	@ls build/wheel/*.whl

# The install that the README names for its commands. pytest only runs the commands, and the tests' set-up needs hypothesis.
plain: ## install as the README names it into a fresh environment, and run the commands of the README there
	rm -rf build/plain
	$(PYTHON) -m venv build/plain
	build/plain/bin/python -m pip install -q -c constraints.txt '.[report,baselines,explore]' pytest hypothesis
	OMP_NUM_THREADS=1 build/plain/bin/pytest tests/test_readme.py

presets: $(INSTALLED) ## write configs/ again, with the meanings of all settings as the code describes them
	$(BIN)/python -m crow.run.describe

notebooks: $(INSTALLED) ## run the notebooks again and keep their results (NOTEBOOKS="03_what_if.ipynb": some)
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/rerun.py $(NOTEBOOKS)

$(DOCS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install -q -c constraints.txt -e '.[docs]'
	touch $@

docs: $(DOCS)/.installed ## build the documentation site; docs/_build/index.html opens without a network
	rm -rf docs/_build build/site
	$(DOCS)/bin/python docs/site/assemble.py build/site
	$(DOCS)/bin/python -m sphinx -q -W --keep-going -b html build/site docs/_build

$(BENCH)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install -q -c constraints.txt -e '.[dev,benchmark]'
	touch $@

bench: $(BENCH)/.installed ## measure the speed of crow and of other libraries, into benchmarks/results
	$(BENCH)/bin/python benchmarks/speed_coupling.py
	$(BENCH)/bin/python benchmarks/speed_coupling.py --compiled
	$(BENCH)/bin/python benchmarks/speed_recurrent.py
	$(BENCH)/bin/python benchmarks/speed_recurrent.py --compiled
	$(BENCH)/bin/python benchmarks/speed_images.py
	$(BENCH)/bin/python benchmarks/memory_reversible.py
	$(BENCH)/bin/python benchmarks/train_time.py
	$(BENCH)/bin/python benchmarks/train_speed.py

# leaspy needs older versions of numpy, pandas and torch than constraints.txt.
$(LEASPY_ENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LEASPY_ENV)
	$(LEASPY_ENV)/bin/python -m pip install -q -e . 'leaspy==2.1.0' 'scoringrules>=0.7'
	touch $@

leaspy: $(LEASPY_ENV)/.installed ## forecasts of leaspy, which benchmarks/forecast.py compares with crow
	OMP_NUM_THREADS=1 $(LEASPY_ENV)/bin/python benchmarks/leaspy_forecast.py $(LEASPY)

clean: ## remove the environment and all results of the targets
	rm -rf $(VENV) $(BENCH) $(DOCS) $(LEASPY_ENV) $(DEMO) build docs/_build docs/jupyter_execute
