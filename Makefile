# make demo and make test set up everything they need, on a machine with python3, pip and make.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
TESTS ?= tests

.PHONY: demo test lint clean

demo: $(VENV)/ready
	$(BIN)/muq-hf embed examples/audio --output demo/embeddings.parquet --overwrite
	$(BIN)/python examples/nearest_neighbours.py demo/embeddings.parquet --picture demo/similarity.png

test: $(VENV)/ready
	$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# torch first and alone: another package could otherwise pull in another build of it.
$(VENV)/ready: setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) torch
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev,train,eval]"
	touch $@

clean:
	rm -rf .venv* demo build dist *.egg-info
