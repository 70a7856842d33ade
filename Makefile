# One command each. PYTHON is only used to make .venv; everything else runs inside it.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test check benchmark install clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       install into .venv, run the main job on a packaged touchstone, say where the report is"
	@echo "make test       install into .venv and run the tests"
	@echo "make check      ruff, mypy --strict, the layers of the design"
	@echo "make benchmark  accuracy, speed and coverage side by side with peers (makes .venv-peers)"

# A torch that is already there and fits is used: the venv sees the system's packages only then.
$(BIN)/python:
	@if $(PYTHON) -c 'import torch, sys; sys.exit(tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])) < (2, 6))' 2>/dev/null; then \
		echo "using the torch that $(PYTHON) already has"; $(PYTHON) -m venv --system-site-packages .venv; \
	else $(PYTHON) -m venv .venv; fi

.venv/installed: $(BIN)/python pyproject.toml constraints.txt
	@if $(BIN)/python -c 'import torch' 2>/dev/null; then grep -v '^torch==' constraints.txt > .venv/constraints.txt; \
	else cp constraints.txt .venv/constraints.txt; $(BIN)/python -m pip install --quiet --disable-pip-version-check -c .venv/constraints.txt "$$(grep '^torch==' constraints.txt)"; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .venv/constraints.txt -e '.[test,check]'
	@touch $@

install: .venv/installed

demo: .venv/installed
	@start=$$(date +%s); $(BIN)/gnomon steer --model touchstone:honesty --toward honest --away dishonest && \
	echo "the demo took $$(( $$(date +%s) - start )) s after installation"

test: .venv/installed
	@start=$$(date +%s); $(BIN)/python -m pytest -n auto --durations=15 && \
	echo "the tests took $$(( $$(date +%s) - start )) s"

check: .venv/installed
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

benchmark: .venv/installed
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf .venv .venv-peers
