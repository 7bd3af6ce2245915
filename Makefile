# `make help` lists what there is. Every target prepares the environment by itself.
# PYTHON=python3.13 chooses the interpreter, TESTS= and TESTFLAGS= what is tested and how.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup readers demo picture test check bench scale faults gpu pages pins clean

TESTS ?= tests
TESTFLAGS ?=
TESTWORKERS ?= auto
DEMOFLAGS ?=
BENCHFLAGS ?=
SCALEFLAGS ?=
FAULTFLAGS ?=
GPUFLAGS ?=
WHEELS ?=

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
READERS := .venv-readers
NEW_ENOUGH := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 15

# The stamp holds a checksum of what is installed and the place it is installed from: nothing is done twice, and a
# change of the dependencies, a moved checkout or an interrupted installation is noticed.
setup: ## make .venv, or bring it up to date
	@want="$$(cat pyproject.toml constraints.txt | cksum) $$(pwd)"; \
	if [ -x $(RUN) ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	if [ -e $(STAMP) ]; then quiet=--quiet; fi; \
	rm -f $(STAMP); \
	if ! $(RUN) -c '$(NEW_ENOUGH)' 2>/dev/null; then \
		python="$$($(MAKE) -s --no-print-directory interpreter)" || exit 1; \
		echo "setup: making $(VENV) with $$python"; \
		"$$python" -m venv --clear $(VENV) || exit 1; \
	fi; \
	echo "setup: installing what constraints.txt pins (the first time: minutes and some gigabytes)"; \
	PYTHONWARNINGS=ignore $(RUN) -m pip install --disable-pip-version-check $$quiet --progress-bar off -c constraints.txt \
		-e ".[dev,bioimage,view,cloud,cluster,export,openvino]" || exit 1; \
	echo "$$want" > $(STAMP); \
	echo "setup: done"

# Prints the interpreter to use. Candidates are run, not only looked up: a version manager's shim may lead nowhere.
.PHONY: interpreter
interpreter:
	@if [ -n "$(PYTHON)" ]; then candidates="$(PYTHON)"; else \
		candidates="python3.12 python3.13 python3 $$HOME/.pyenv/shims/python3 $$HOME/.pyenv/shims/python3.12"; \
		candidates="$$candidates $$(uv python find "$$(cat .python-version)" 2>/dev/null)"; \
	fi; \
	for candidate in $$candidates; do \
		if "$$candidate" -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo "$$candidate"; exit 0; fi; \
	done; \
	echo "setup: no Python 3.12 or newer with venv among: $$(echo $$candidates); give one: make PYTHON=/path/to/python" >&2; \
	exit 1

# Programs of others, which want other versions than ours: nothing of this project is installed there.
readers: setup ## make .venv-readers: programs of others in which tests open what we export
	@want="$$(cksum < tests/support/readers.txt) $$(pwd)"; \
	if [ "$$(cat $(READERS)/.installed 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	echo "readers: installing what tests/support/readers.txt pins"; \
	$(RUN) -m venv --clear $(READERS) && PYTHONWARNINGS=ignore $(READERS)/bin/python -m pip install --quiet --no-compile \
		--disable-pip-version-check --progress-bar off --no-deps -r tests/support/readers.txt || exit 1; \
	echo "$$want" > $(READERS)/.installed

demo: setup ## the whole line on a small made-up volume
	@$(VENV)/bin/contraband demo $(DEMOFLAGS)

picture: demo ## the demo, and its picture into the README
	@$(RUN) -c "from PIL import Image; Image.open('out/demo/slices.png').convert('RGB').quantize(128, dither=0) \
		.save('contraband/demo/slices.png', optimize=True)"

# A file of tests stays in one process, as its tests share what was made for them; files begin in their order, which
# tests/conftest.py gives them, as it says how many processes there are.
test: setup readers ## all tests (TESTS=tests/blockwise, TESTFLAGS="-k name -x", TESTWORKERS=0: in one process)
	@$(RUN) -m pytest -q --durations=10 -n $(TESTWORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		$(TESTFLAGS) $(TESTS) </dev/null

check: setup ## ruff (rules and format) and mypy --strict
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy

bench: setup ## figures of speed and memory (BENCHFLAGS="--quick", "--only edges", "--readme")
	@$(RUN) -m tests.benchmarks $(BENCHFLAGS)

scale: setup ## growing synthetic volumes, and what 10^12 voxels need (SCALEFLAGS="--quick", "--up-to 10")
	@$(RUN) -m tests.scale $(SCALEFLAGS)

faults: setup ## runs killed at every scripted point (FAULTFLAGS=--quick)
	@$(RUN) -m tests.faults $(FAULTFLAGS)

# With WHEELS nothing is fetched and .venv is not made: the interpreter there has torch and numba, the folder the rest.
gpu: $(if $(WHEELS),wheels,setup) ## every check that needs a GPU (WHEELS=folder: without a package index, GPUFLAGS=--quick)
	@PYTHONPATH="$(if $(WHEELS),$(CURDIR)/out/wheels)" $(if $(WHEELS),$(or $(PYTHON),python3),$(RUN)) -m tests.gpu $(GPUFLAGS)

.PHONY: wheels
wheels:
	@$(or $(PYTHON),python3) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --upgrade \
		-f "$(WHEELS)" --target out/wheels -r deploy/requirements-gpu-checks.txt

pages: setup ## write the parts of the documentation that are made from the code
	@$(RUN) -m tests.support.pages

pins: setup ## write constraints.txt from what is installed
	@$(RUN) -m pip --disable-pip-version-check freeze --exclude-editable --exclude pip \
		| sed -n '/^[A-Za-z0-9._-]*==[^ +]*$$/p' | LC_ALL=C sort -f > constraints.txt
	@echo "pins: $$(wc -l < constraints.txt) in constraints.txt"

clean: ## remove the environment and caches; data and outputs stay
	rm -rf $(VENV) $(READERS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find blockwise contraband tests -name __pycache__ -type d -prune -exec rm -rf {} +
