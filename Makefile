# Everything runs from a bare clone with Python 3.11+, make and a package index.
#   make up [ARGS="--home DIR --port N --flower-port N"]     the whole stack on this machine
#   make test [ARGS="-k relay"] [DATABASE_URL=…]             the test-suite, on servers it starts itself
#   EXAMPLES=10 make test                                    the same with ten times the random examples

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.installed
LOCK := pip compile pyproject.toml --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--universal --python-version 3.11 --custom-compile-command "make lock"

# Four processes on two cores (tests wait a lot), each with servers of its own; a file's tests stay together. Not
# reordered by number of tests: the longest files have few, and would all come last.
SPREAD := -n 4 --dist loadfile --no-loadscope-reorder

# Compiled modules are kept, whatever the caller's environment says: without them each process takes three times as long
# to start.
unexport PYTHONDONTWRITEBYTECODE

# The venv's programs first, also for what the processes start themselves.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: up token queue test check format bench chaos real-data lock sample clean

up: $(STAMP)
	@$(BIN)/python -m ops.up $(ARGS)

token: $(STAMP)
	@$(BIN)/python -m ops.token $(ARGS)

queue: $(STAMP)
	@$(BIN)/python -m ops.queue $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(SPREAD)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	@$(BIN)/python -m ops.bench $(ARGS)

chaos: $(STAMP)
	@$(BIN)/python -m ops.chaos $(ARGS)

# Real feeds, where there is a folder of them: SHOPOPTI_REAL_DATA names it.
real-data: $(STAMP)
	@$(BIN)/python -m ops.real_data

# After a change of dependencies in pyproject.toml. ARGS="--upgrade" takes newer versions.
lock: $(STAMP)
	$(BIN)/pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv $(LOCK) --extra embedded --extra dev --output-file requirements.lock $(ARGS)
	$(BIN)/uv $(LOCK) --output-file requirements-production.lock --constraints requirements.lock

sample: $(STAMP)
	$(BIN)/python -m ops.sample > sample/catalogue.csv

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@
