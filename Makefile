# The only entry point. `make` alone prints help.
#
#   make figures PROFILE=paper      train whatever the full grid has no record of, then draw
#   make figures OVERWRITE=1        also where records that a committed figure was drawn from are gone
#   make notebooks/06_benchmark.ipynb    one notebook, if it or what it depends on has changed
#   make setup PYTHON=python3.12    another interpreter
#
# Setup is a virtual environment from the lock file, unless a conda environment is active (environment.yml) or VENV=none.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON  ?= python3
VENV    ?= .venv
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
PROFILE ?= live
FRESH   ?=
OVERWRITE ?=
RECORDS ?= paper_figures/records
BACKEND ?= loky
SCHEDULER ?=

CLUSTER = --backend $(BACKEND) $(if $(SCHEDULER),--scheduler $(SCHEDULER))

ifneq ($(CONDA_PREFIX),)
  VENV := none
endif
ifeq ($(VENV),none)
  PY    := "$(PYTHON)"
  READY :=
else
  PY    := $(VENV)/bin/python
  READY := $(VENV)/.ready
endif

# The notebooks' kernel must be this environment's python, and figures the same bytes every time.
export SOURCE_DATE_EPOCH := 0
export PYTHONHASHSEED := 0
export ALCL_OVERWRITE := $(OVERWRITE)

# glibc hands a training step's activations back to the system and faults them in again at the next step: up to a third
# of the time of the small convolutional networks. Not so for bench and test, which measure memory as users see it. Other
# C libraries do not read these.
figures runs studies %.ipynb: export MALLOC_MMAP_THRESHOLD_ := 33554432
figures runs studies %.ipynb: export MALLOC_TRIM_THRESHOLD_ := 268435456

.PHONY: help words size setup figures test test-deep test-oldest oldest runs studies notebooks book serve-book check audit bench lock clean mutants determinism

help:  ## print this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: requirements.lock pyproject.toml
	"$(PYTHON)" -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

setup: $(READY)  ## the virtual environment from the lock file, once; every target calls it when needed

figures: $(READY)  ## execute what has changed and write all of paper_figures/ (PROFILE=paper trains the full grid first)
ifneq ($(PROFILE),live)
	$(PY) -m alcl.experiments --profile $(PROFILE) --records $(RECORDS) --jobs $(JOBS) $(CLUSTER) $(if $(FRESH),--fresh)
endif
	+$(PY) notebooks/warm.py $(MAKE) --no-print-directory --keep-going --jobs $(JOBS) README.md $(CLAIMS)

# Executed backwards: the long ones have high numbers, and begun first they leave no core idle at the end. But the last
# one, on the claims and the figures, reads all the others.
EXECUTED := $(patsubst %.py,%.ipynb,$(shell ls -r notebooks/[0-9A][0-9]_*.py))
CLAIMS   := $(filter %_figures.ipynb,$(EXECUTED))
READERS  := $(patsubst %.py,%.ipynb,$(shell grep -lw '^[^#]*records' notebooks/[0-9A][0-9]_*.py))
RUNS     := $(wildcard $(RECORDS)/*.json $(RECORDS)/*.jsonl)
COSTS    := paper_figures/table11_speed.md

# Whether there is anything to do is decided by checksums, not by times, which mean nothing after a checkout.
IF_CHANGED = @$(PY) notebooks/if_changed.py $@ $(filter-out FORCE,$^) --
FORCE:
.PRECIOUS: %.ipynb README.md $(COSTS)

notebooks/%.ipynb: notebooks/%.py notebooks/execute.py notebooks/warm.py FORCE | $(READY)
	$(IF_CHANGED) $(PY) notebooks/execute.py $<
$(READERS): $(RUNS)
notebooks/02_influence.ipynb: notebooks/explorer/explorer.js
$(CLAIMS): $(filter-out $(CLAIMS),$(EXECUTED)) $(COSTS)

$(COSTS): alcl/paper/bench.py $(filter %/bench.json,$(RUNS)) FORCE | $(READY)
	$(IF_CHANGED) $(PY) -m alcl.paper.bench --draw

# Beside the last notebook, of whose outputs it shows nothing.
README.md: alcl/paper/readme.py $(wildcard alcl/paper/choices.json) $(filter-out $(CLAIMS),$(EXECUTED)) $(CLAIMS:.ipynb=.py) $(COSTS) $(RUNS) FORCE | $(READY)
README.md: $(filter-out %/table07_claims.csv,$(wildcard paper_figures/*.csv))
	$(IF_CHANGED) $(PY) -m alcl.paper.readme

notebooks: figures  ## the same: notebooks are executed, paired and their figures written together

runs: $(READY)  ## the sweep alone: PROFILE=paper, JOBS=, FRESH=1, BACKEND=dask SCHEDULER=tcp://host:8786; resumes where it stopped
	$(PY) -m alcl.experiments --profile $(if $(filter live,$(PROFILE)),paper,$(PROFILE)) --records $(RECORDS) --jobs $(JOBS) $(CLUSTER) $(if $(FRESH),--fresh)

studies: $(READY)  ## noisy labels, noisy inputs and the studies beyond the paper (DATASETS="digits mnist", JOBS=); resumes where it stopped
	$(PY) -m alcl.experiments labels --profile embedded --records $(RECORDS) --jobs $(JOBS)
	$(PY) -m alcl.experiments labels --profile paper --records $(RECORDS) --jobs $(JOBS)
	$(PY) -m alcl.experiments inputs --profile embedded --records $(RECORDS) --jobs $(JOBS)
	$(PY) -m alcl.experiments studies --records $(RECORDS) --jobs $(JOBS) $(CLUSTER) $(if $(DATASETS),--datasets $(DATASETS))

# nbval runs the committed notebooks and compares tagged outputs; their figures go to build/, not over the committed ones,
# but beside copies of them: a figure that has not changed is not drawn a second time, for its PDF.
test: $(READY)  ## unit and property tests, the gates, and nbval over every notebook
	$(PY) -m pytest -p no:nbval tests -n $(JOBS) --dist loadscope --no-loadscope-reorder
	mkdir -p build/nbval_figures && cp paper_figures/*.* build/nbval_figures
	TQDM_DISABLE=1 OMP_NUM_THREADS=1 ALCL_FIGURES="$(CURDIR)/build/nbval_figures" \
	  $(PY) notebooks/warm.py $(PY) -m pytest --nbval-lax --nbval-kernel-name python3 --nbval-cell-timeout 1200 \
	  -p no:cacheprovider -n $(JOBS) --dist loadscope --no-loadscope-reorder notebooks

test-deep: $(READY)  ## the property tests with 10,000 examples each (hours)
	HYPOTHESIS_PROFILE=deep $(PY) -m pytest -p no:nbval tests -n $(JOBS) --dist loadscope --no-loadscope-reorder

# The lower ends of pyproject's ranges, and what is needed to test with, which may be new.
OLDEST := .venv-oldest
LIBRARY := $(filter-out %/test_notebooks.py %/test_manifest.py %/test_environment.py %/test_readme.py %/test_theorems%,\
  $(wildcard tests/test_*.py tests/*/test_*.py))
NEW := jupyter jupytext papermill nbval mpmath sympy
oldest:
	@sed -n -e '/^dependencies = \[/,/^\]/p' -e '/^companion = \[/,/^\]/p' pyproject.toml \
	  | sed -n 's/.*"\([a-z-]*\)>=\([0-9.]*\)".*/\1==\2/p' | grep -vE '^($(subst $() ,|,$(NEW)))='

test-oldest:  ## the tests of alcl with the oldest supported dependencies (PYTHON=, 3.10 to 3.12), in an environment of its own
	"$(PYTHON)" -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check $$($(MAKE) --silent oldest) \
	  pytest hypothesis $(NEW) packaging
	$(OLDEST)/bin/python -m pip check
	OMP_NUM_THREADS=1 PYTHONPATH="$(CURDIR)" $(OLDEST)/bin/python -m pytest -p no:cacheprovider $(LIBRARY)

mutants: $(READY)  ## write tests/mutants.md: which check notices which mutant of the loss
	PYTHONPATH="$(CURDIR)" $(PY) tests/test_losses.py

determinism: $(READY)  ## measure what runs depend on beside their configuration (needs ALCL_DATA); the audit rests on it
	PYTHONPATH="$(CURDIR)" $(PY) tests/measure_determinism.py

# From the committed notebooks, as they are: nothing is executed. BOOK_REPOSITORY=https://host/owner/name adds edit links.
book: $(READY)  ## the companion as a website in build/book, which needs no server and no network
	PYTHONPATH="$(CURDIR)" $(PY) -m sphinx -E -W --keep-going -q -j $(JOBS) -d build/book-trees notebooks build/book
	@echo "open file://$(CURDIR)/build/book/index.html"

serve-book: book  ## the same behind a small server of this machine (PORT=8000)
	@echo "look at http://localhost:$(or $(PORT),8000), stop with Ctrl-C"
	$(PY) -m http.server --bind 127.0.0.1 --directory build/book $(or $(PORT),8000)

check: $(READY)  ## lint, format, pip check, pairing of notebooks
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pip check
	$(PY) -m pytest -q -p no:nbval tests/test_notebooks.py tests/paper/test_manifest.py tests/test_environment.py

audit: $(READY)  ## rerun a random sample of the embedded records and compare (N=10 SEED=0 PROFILE=embedded)
	$(PY) -m alcl.experiments --profile $(if $(filter live,$(PROFILE)),embedded,$(PROFILE)) --records $(RECORDS) --audit $(or $(N),10) --seed $(or $(SEED),0)

bench: $(READY)  ## what the loss costs beside its peers, about three minutes on a quiet machine
	$(PY) -m alcl.paper.bench

lock:  ## resolve every pin again (needs uv)
	uv pip compile pyproject.toml --extra companion --extra dev --extra cluster --extra book --universal --python-version 3.10 --no-annotate \
	  --custom-compile-command "make lock" --upgrade --output-file requirements.lock

words: $(READY)  ## words, lines of code and minutes of reading, a row a notebook
	$(PY) -m alcl.paper.reading

size: $(READY)  ## lines, imports, packages and seconds of this checkout, or of another one (CHECKOUT=path)
	$(PY) -m alcl.paper.size $(CHECKOUT)

clean:  ## remove what can be made again, but not the environment
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
	find . -name '*.lock' -path '*paper_figures*' -delete
