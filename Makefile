# `make repro` and `make test` need Python 3.11 or newer, make, and nothing else installed.
# scripts/bootstrap.py makes .venv, installs the project with the versions of requirements.lock, and says in a sentence
# what is in the way.

# Name another Python with: make PYTHON=/path/to/python3.13 repro
# Where nobody named one and python3 is too old, the newest one on PATH is taken.
PYTHON ?= python3
SEARCH := $(if $(filter file,$(origin PYTHON)),--search)
# uv installs where it is on PATH, else pip. It does not read pip's configuration; take pip all the same with: make UV= ...
UV ?= uv
BIN := .venv/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help repro experiments test test-unit lint format benchmarks bundle lock clean venv venv-dev

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

repro: venv ## run what is out of date of the pipeline; print scores per lane and the model's path
	@PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro
	@$(BIN)/drum-crnn scores

# Scores that are the same in every row would not be shown. The hashes of inputs would be columns too.
experiments: venv ## compare experiments: parameters that differ, and scores
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; \
	names=$$(dvc exp list --name-only) || exit 1; \
	if [ -z "$$names" ] && git diff --quiet HEAD -- metrics; then \
	    echo "Nothing to compare yet: this commit has no finished experiment, and the scores here are its own."; \
	    echo "Run one, then make experiments again:"; \
	    echo "    source .venv/bin/activate"; \
	    echo "    dvc exp run -n slower -S train.learning_rate=0.001"; \
	else \
	    dvc exp show --only-changed --drop '^(data|models|drum_crnn|stages)/|Created|State|Executor'; \
	fi

test: venv-dev lint ## run the linter, the formatter's check, the type checker and all tests
	$(BIN)/python -m pytest

test-unit: venv-dev ## run the tests that start no other processes; arguments: make test-unit ARGS='-k midi'
	$(BIN)/python -m pytest tests/unit -m 'not processes' $(ARGS)

lint: venv-dev ## run the linter, the formatter's check and the type checker
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: venv-dev ## put the code into the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmarks: ## list the benchmarks; each prints a table and its figures
	@for file in $$(grep -l __main__ benchmarks/*.py); do \
	    echo "$(BIN)/python -m benchmarks.$$(basename "$$file" .py)"; \
	done

# Anew, so that it holds what the dvc.lock of now names and no more.
bundle: venv ## put the small outs of dvc.lock into .dvc/bundled, the remote that is in git
	rm -rf .dvc/bundled
	@PATH="$(CURDIR)/$(BIN):$$PATH" dvc push --remote bundled

# What the lock names stays while pyproject.toml allows it; for the newest of all: rm requirements.lock && make lock.
# One version for every Python and system (fewest), so that results do not depend on which one runs.
lock: ## pin in requirements.lock what pyproject.toml asks for, with all extras (needs uv)
	@command -v "$(UV)" >/dev/null || { \
	    echo "error: uv was not found; pip install uv, or name one: make UV=/path/to/uv lock" >&2; \
	    exit 1; }
	"$(UV)" pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --all-extras --no-annotate \
	    --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove caches; data, models, metrics and .venv stay
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist *.egg-info
	@find . \( -path ./.venv -o -path ./.git -o -path ./.dvc -o -path ./data -o -path ./models \) -prune \
	    -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

venv venv-dev:
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "error: $(PYTHON) was not found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3 ..." >&2; \
	    exit 1; }
	@"$(PYTHON)" scripts/bootstrap.py $(SEARCH) --uv "$(UV)" --extra plots $(if $(filter venv-dev,$@),--extra dev)
	@$(BIN)/python scripts/offline_plots.py || \
	    echo "pages of dvc plots will load their scripts from the network: see above for the reason"
