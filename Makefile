# Two commands do everything on a fresh Debian or Ubuntu machine: make demo, make test.
SHELL := /bin/bash
unexport PYTHONDONTWRITEBYTECODE  # where it is set, every command compiles all of its program anew
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/bench/.installed
SOLVER := $(VENV)/ortools/.installed

.PHONY: demo test check unit sequences bench bench-passes bench-healing bench-scheduler lab-down lock setup clean

demo: $(STAMP)            ## the main job, live: a lab fleet, three pushes, one automatic rollback
	$(BIN)/python -m gitops.lab.demo $(DEMO_ARGS)

test: $(STAMP)            ## everything: static checks, unit, golden, integration and acceptance tests
	./tests/run

check: $(STAMP)           ## static checks only
	./tests/check

unit: $(STAMP)            ## what needs no lab
	$(BIN)/pytest -q tests/unit tests/golden

sequences: $(STAMP)      ## a thousand sequences of commits on a real edge, a fault in most; prints the seeds
	GITOPS_SEQUENCES=$(or $(COUNT),1000) GITOPS_SEED=$(or $(SEED),1) PYTHONPATH=tests \
	  $(BIN)/pytest -q -s tests/acceptance/test_edge_sequences.py

bench: $(STAMP) $(PEERS)  ## this project side by side with its peers; writes docs/performance.*
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-passes: $(STAMP)    ## a pass with nothing to do, over up to 1,000 simulated hosts
	PYTHONPATH=tests $(BIN)/python -m bench.passes $(HOSTS)

bench-healing: $(STAMP)  ## how soon drift is noticed, a killed replica replaced, a doubled load answered
	PYTHONPATH=tests $(BIN)/python -m bench.healing $(ROUNDS)

bench-scheduler: $(STAMP) $(SOLVER)  ## how fast the scheduler places, and how well, up to 10,000 made-up hosts
	$(BIN)/python -m bench.scheduler $(HOSTS)

lab-down: $(STAMP)        ## takes the demo's lab down, also after a crash
	$(BIN)/gitops lab down

setup: $(STAMP)           ## .venv with the locked dependencies

$(STAMP): requirements-dev.lock pyproject.toml
	./.ci/packages python3-venv python3-pip git
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# What the bench compares with: Ansible's community package, apart from our own dependencies.
$(PEERS): bench/requirements.lock $(STAMP)
	./.ci/packages python3-requests
	python3 -m venv $(VENV)/bench
	$(VENV)/bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# What the scheduler's packing is held against.
$(SOLVER): bench/ortools.lock
	./.ci/packages python3-venv
	python3 -m venv $(VENV)/ortools
	$(VENV)/ortools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# The lock files hold versions and hashes, and no index address.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml --group dev -o requirements-dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  bench/requirements.in -o bench/requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  bench/ortools.in -o bench/ortools.lock

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
