# Everything that a newcomer, a developer and CI type. `make` alone shows what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --no-input -c constraints.txt

CHECKPOINT ?= checkpoints/nano.safetensors
TARGET ?= cpu
RESOLUTION ?= 448
# the shipped nano for `cpu` at 448 px is committed in model_repository/; anything else goes to build/
SHIPPED := checkpoints/nano.safetensors:cpu:448
OUT ?= $(if $(filter $(SHIPPED),$(CHECKPOINT):$(TARGET):$(RESOLUTION)),model_repository,build/$(notdir $(basename $(CHECKPOINT)))-$(TARGET)-$(RESOLUTION))
EXPORT_FLAGS ?=
CLAIM ?= build/claim
CLAIM_FLAGS ?=
REAL ?=
TEST_FLAGS ?=

.PHONY: help demo setup lint format test test-slow chaos load fuzz export perf train claim results samples simulate audit offline supply reliability \
	clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[bench,server]'
	$(BIN)/python -m mmms_server.install
	@touch $@

$(VENV)/.dev-stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev]'
	$(BIN)/python -m mmms_server.install
	@touch $@ $(VENV)/.demo-stamp

demo: $(VENV)/.demo-stamp ## Install, serve, annotate a sample pair, run a short bench, say where the pictures are
	$(BIN)/python samples/demo.py

setup: $(VENV)/.dev-stamp ## Install everything for development, and the `tritonserver` launcher

lint: $(VENV)/.dev-stamp ## Format check, ruff, types, arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports

format: $(VENV)/.dev-stamp ## Rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ROOMS := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/rooms.py $(TEST_FLAGS)

test: $(VENV)/.dev-stamp ## Everything a user would miss, in short form
	$(ROOMS) -m "not slow"

test-slow: $(VENV)/.dev-stamp ## The long forms too
	$(ROOMS)

KILLS ?= 120
LOAD ?= 64:600
chaos: $(VENV)/.dev-stamp ## KILLS: kill -9 of server, stages, app and bench at random moments under load; other faults
	MMMS_KILLS=$(KILLS) MMMS_FIGURES=$(FIGURES) PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -X faulthandler -m pytest \
		tests/reliability/test_chaos.py tests/reliability/test_faults.py $(TEST_FLAGS)

load: $(VENV)/.dev-stamp ## LOAD=SESSIONS:SECONDS: many sessions at once, memory, files and shared memory watched
	MMMS_LOAD=$(LOAD) MMMS_FIGURES=$(FIGURES) PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -X faulthandler -m pytest \
		tests/reliability/test_load.py $(TEST_FLAGS)

FUZZ ?= 10000
fuzz: $(VENV)/.dev-stamp ## FUZZ: hostile files for every reader, requests, answers and messages; hours
	MMMS_FUZZ=$(FUZZ) MMMS_FIGURES=$(FIGURES) PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -X faulthandler -m pytest \
		tests/reliability/test_hostile_*.py $(TEST_FLAGS)

export: $(VENV)/.dev-stamp ## CHECKPOINT, TARGET, RESOLUTION, OUT: write a model repository, with parity check
	$(BIN)/mmms-export --checkpoint $(CHECKPOINT) --target $(TARGET) --resolution $(RESOLUTION) --out $(OUT) $(EXPORT_FLAGS)

# the paper's size with 0 to 3 modalities, and random weights: times do not depend on them
PAPER := build/perf-mmms_dinov2_b14
perf: $(VENV)/.dev-stamp $(PAPER)+0 $(PAPER)+1 $(PAPER)+2 $(PAPER)+3 ## Latency and throughput of nano, the paper's size and rivals, into docs/performance.md
	$(BIN)/mmms-perf model_repository $(PAPER)+1 --also $(PAPER)+0 --also $(PAPER)+2 --also $(PAPER)+3 --rivals \
		--trained checkpoints/nano.safetensors \
		--json build/perf.json --page docs/performance.md

$(PAPER)+0: MODALITIES :=
$(PAPER)+1: MODALITIES := thermal
$(PAPER)+2: MODALITIES := thermal,depth
$(PAPER)+3: MODALITIES := thermal,depth,nir
$(PAPER)+%: | $(VENV)/.dev-stamp
	$(BIN)/mmms-export --preset mmms_dinov2_b14 --modalities "$(MODALITIES)" --random-weights --out $@

train: $(VENV)/.dev-stamp ## Train the shipped nano checkpoint again, from nothing (resumes)
	PATH="$(CURDIR)/$(BIN):$$PATH" training/recipes/nano.sh build/train-nano

claim: $(VENV)/.dev-stamp ## Train and measure the networks of docs/results.md: hours (resumes); CLAIM_FLAGS
	PATH="$(CURDIR)/$(BIN):$$PATH" training/recipes/claim.sh $(CLAIM) $(CLAIM_FLAGS)

results: $(VENV)/.dev-stamp ## REAL=FOLDER: measure on real photos too; write docs/results.md and print it
	$(if $(REAL),$(BIN)/mmms-train real --root $(REAL) --checkpoint $(CHECKPOINT) --out build/real)
	$(BIN)/mmms-train results $(if $(REAL),--real build/real) $(if $(wildcard $(CLAIM)/results),--claim $(CLAIM))

samples: $(VENV)/.dev-stamp ## Write the sample pair of the demo again
	$(BIN)/python samples/make_samples.py

PERF ?=
simulate: $(VENV)/.dev-stamp ## PERF=build/perf.json: people per server and fleet, into docs/scaling.md; against `make perf` if given
	$(BIN)/python deploy/simulation/simulate.py --page $(if $(PERF),--measured $(PERF))

AUDITOR := build/audit/bin/pip-audit
$(AUDITOR): ; $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1

audit: $(VENV)/.dev-stamp $(AUDITOR) ## Known vulnerabilities and licences; exit code 3 from the program if the database was not reached
	MMMS_FIGURES=$(FIGURES) $(BIN)/python .ci/audit.py $(AUDITOR)

offline: $(VENV)/.dev-stamp ## make test where nothing but loopback exists; fails if anything tried to leave
	$(BIN)/python tests/reliability/offline.py $(MAKE) test

supply: $(VENV)/.dev-stamp ## Lowest versions, two exports to the byte, the demo without a network, what is refused; figures
	PATH="$(CURDIR)/$(BIN):$$PATH" MMMS_FIGURES=$(FIGURES) $(BIN)/python -m pytest $(TEST_FLAGS) tests/reliability/test_lower_bounds.py \
		tests/reliability/test_reproducible.py tests/reliability/test_no_network.py tests/reliability/test_start_line.py \
		tests/reliability/test_proxy.py tests/reliability/test_browser_origins.py

reliability: $(VENV)/.dev-stamp ## The figures that tests kept in FIGURES, into docs/reliability.md
	$(BIN)/python tests/reliability/page.py $(FIGURES)

clean: ## Remove what make built, but not the environment
	rm -rf build out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
