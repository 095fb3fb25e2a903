# Each target sets up all that it needs, on a machine with python3, pip and make.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
TESTS ?= tests
MARKS ?= not slow

.PHONY: demo page test test-all lint docs clean

demo: $(VENV)/ready
	$(BIN)/muq-hf embed examples/audio --output demo/songs.parquet --overwrite
	$(BIN)/python examples/nearest_neighbours.py demo/songs.parquet --picture demo/similarity.png

page: $(VENV)/ready
	test -e demo/page.parquet || $(BIN)/muq-hf embed examples/audio --output demo/page.parquet --chunk-length-s 5
	$(BIN)/muq-hf serve demo/page.parquet --open

test: $(VENV)/ready
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "$(MARKS)" $(TESTS)

test-all: MARKS = slow or not slow
test-all: test

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(VENV)/ready
	$(BIN)/mkdocs build --strict

# torch first and alone: another package could otherwise pull in another build of it.
$(VENV)/ready: setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) torch
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv* demo site build dist *.egg-info
