# The same targets serve people and .ci/run. Everything runs in .venv, which the targets make when it is missing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# The build, too, uses the setuptools of constraints.txt: hence --no-build-isolation below.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
STAMP := $(VENV)/.installed
# Any Python from 3.11 on: make install PYTHON=/path/to/python
PYTHON ?=
ARGS ?=

.PHONY: help install demo test test-slow test-site lint format types notebooks notebooks-update docs bench bench-gpu pretrain-small pretrain-gpu clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv and install textxfer with the tested versions of its dependencies

# Candidates are run, not only looked up: pyenv's stubs exist for versions that are not active, and Debian has
# Pythons that cannot make an environment (python3-venv is a package of its own).
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@usable() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1; }; \
	if ! usable $(BIN)/python; then \
	    for python in $(if $(PYTHON),'$(PYTHON)',python3.11 python3.12 python3 /usr/bin/python3); do \
	        if usable "$$python"; then break; fi; python=; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "textxfer needs Python 3.11 or newer with the venv module, and found none $(if $(PYTHON),at $(PYTHON),on PATH)." >&2; \
	        echo "Install one (Debian and Ubuntu: apt install python3 python3-venv) or name it: make install PYTHON=..." >&2; \
	        exit 1; \
	    fi; \
	    echo "making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV); \
	fi
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## train and compare a small classifier on data that every installation has; writes build/demo
	$(BIN)/python -m textxfer.demo --out build/demo $(ARGS)

test: $(STAMP)  ## run the tests, the slow ones apart (ARGS=... goes to pytest)
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(STAMP)  ## run the slow tests
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(STAMP)  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## apply the format and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## check the types
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

# What only the documentation needs is installed when it is first asked for.
DOCS := $(VENV)/.installed-docs

$(DOCS): $(STAMP)
	$(PIP) --no-build-isolation -e '.[docs]'
	@touch $@

# The hard limit of a notebook; on a quiet machine each takes less than a minute and a half.
NOTEBOOK_SECONDS ?= 180
NOTEBOOKS := $(BIN)/python nbs/_tools/run.py --seconds $(NOTEBOOK_SECONDS)

notebooks: $(DOCS)  ## run the notebooks in nbs/ that have changed, or the library has (ARGS=--all: every one)
	$(NOTEBOOKS) $(ARGS)

notebooks-update: $(DOCS)  ## run them and save in them what they show (ARGS="nbs/...": some)
	$(NOTEBOOKS) --update $(ARGS)

docs: $(DOCS)  ## build the documentation from nbs/ in build/docs
	rm -rf build/docs
	$(BIN)/python -m sphinx -W --keep-going -E -q -b html -d build/doctrees nbs build/docs
	@echo "the documentation is in build/docs/index.html"

test-site: docs  ## build the documentation and look at it in a headless Chromium
	$(BIN)/python -m pytest -m site tests/site

bench: $(STAMP)  ## run the benchmarks; TEXTXFER_DATA=... names the data (ARGS=--quick: a small run, nothing written)
	$(PIP) --no-build-isolation -e '.[bench]'
	$(PIP) --no-deps -r benchmarks/fastai-requirements.txt
	$(BIN)/python -W ignore -m benchmarks.tokenize $(ARGS)
	@if [[ "$(ARGS)" != *--quick* ]]; then $(BIN)/python -m benchmarks.corpus; fi
	$(BIN)/python -m benchmarks $(ARGS)
	@if [[ "$(ARGS)" != *--quick* ]]; then $(BIN)/python -m benchmarks.report; fi

# Three commands, each of less than nine minutes, for machines that are lent for a short time. One that fails or is
# ended does not keep the next from its turn, and what it has measured stays: ARGS=--missing measures the rest another
# time. PROBE, STEPS and OTHERS are the seconds after which the commands begin nothing more, OTHERS for each of two
# suites. They need torch with CUDA, which .venv has only if the machine had a GPU when it was made: GPU_PYTHON=python3
# takes another one.
GPU_PYTHON ?=
PROBE ?= 225
STEPS ?= 420
OTHERS ?= 200
# Packages for GPU_PYTHON may lie in a folder of their own, which PYTHONPATH names.
GPU_ENV := PYTHONPATH=src$${PYTHONPATH:+:$$PYTHONPATH}
# --foreground: else Ctrl-C would not reach the command.
GPU_BENCH := $(GPU_ENV) timeout --foreground 540 $(or $(GPU_PYTHON),$(BIN)/python) -m benchmarks --device cuda

bench-gpu: $(if $(GPU_PYTHON),,$(STAMP))  ## run the benchmarks of a CUDA GPU (ARGS=--out FOLDER: write there)
	status=0; trap 'exit 130' INT; \
	$(GPU_BENCH) $(ARGS) --seconds $(PROBE) gpu_probe || status=$$?; \
	$(GPU_BENCH) $(ARGS) --seconds $(STEPS) lm_step || status=$$?; \
	$(GPU_BENCH) $(ARGS) --seconds $(OTHERS) loss classify || status=$$?; \
	exit $$status

# Pretrained models. DATA: text files, LICENCE: theirs, OUT: where all goes, TEST: texts to measure the model on.
DATA ?=
OUT ?= $(if $(filter pretrain-gpu,$@),build/en-base,build/en-small)
TEST ?=
SMALL := --recipe small --direction both --max-words 30000000 --valid 0.002
LICENCE ?=
RELEASE := --source 'English Wikipedia' $(if $(LICENCE),--licence '$(LICENCE)') $(if $(TEST),--test $(TEST))

pretrain-small: $(STAMP)  ## pretrain en-small on a CPU and release it (DATA="FILES", OUT=FOLDER, TEST="FILES")
	if [ ! -d $(OUT)/run ]; then \
	    $(BIN)/python -m textxfer pretrain $(DATA) --store $(OUT)/ids --out $(OUT)/run $(SMALL) $(ARGS) \
	        $$(if compgen -G '$(OUT)/run.unfinished/*/step-*' > /dev/null; then echo --resume; fi); \
	fi
	$(BIN)/python -m textxfer release $(OUT)/run --name en-small --out $(OUT)/en-small --replace $(RELEASE)

# In pieces of less than ten minutes, for a GPU that is lent for a short time: give the command again until it ends
# with the released model; a piece that has not come to the end fails with "Error 75". The first piece tokenizes DATA,
# which needs no GPU and spaCy; the machine that trains needs $(OUT)/ids and $(OUT)/run.unfinished only. If that has no
# spaCy, leave TEST out there, and give the command once more with TEST where spaCy and $(OUT) are: it releases anew.
MINUTES ?= 9
GPU_TEXTXFER = $(GPU_ENV) $(or $(GPU_PYTHON),$(BIN)/python) -m textxfer
BASE := --recipe small --direction both --embed 400 --hidden 1152 --layers 3 --max-vocab 30000 --batch-size 128 \
    --lr 3e-3 --valid 0.002

pretrain-gpu: $(if $(GPU_PYTHON),,$(STAMP))  ## one piece of pretraining en-base on a GPU (DATA, OUT, TEST as above)
	if [ ! -d $(OUT)/ids ]; then \
	    $(GPU_TEXTXFER) pretrain $(DATA) --store $(OUT)/ids --out $(OUT)/run $(BASE) $(ARGS) --prepare-only; \
	fi
	if [ ! -d $(OUT)/run ]; then \
	    $(GPU_TEXTXFER) pretrain $(DATA) --store $(OUT)/ids --out $(OUT)/run $(BASE) $(ARGS) --stop-minutes $(MINUTES) \
	        $$(if compgen -G '$(OUT)/run.unfinished/*/step-*' > /dev/null; then echo --resume; fi); \
	fi
	$(GPU_TEXTXFER) release $(OUT)/run --name en-base --out $(OUT)/en-base --shard-mb 16 --replace $(RELEASE)

clean:  ## remove what was built; .venv and cached data sets stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
