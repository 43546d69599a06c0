# make run    set everything up, make and prove the workbook, train the CNN: the files are in out/
# make test   set everything up and run the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint docs notebook bench clean

run: .venv/ready
	$(BIN)/gradsheet demo --out out
	$(BIN)/gradsheet mnist train --recipe quick --out out/mnist

test: .venv/ready
	$(BIN)/python -m pytest -n auto

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/ready
	$(BIN)/python docs/make.py

notebook: .venv/ready
	$(BIN)/python docs/notebook.py

bench: .venv/ready
	$(BIN)/python benchmarks/workbook.py
	$(BIN)/python benchmarks/large_network.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/check.py
	$(BIN)/python benchmarks/batches.py
	$(BIN)/python benchmarks/mnist.py speed
	$(BIN)/python benchmarks/mnist.py runs quick --seeds 3
	$(BIN)/python benchmarks/mnist.py runs best --seeds 5
	$(BIN)/python benchmarks/mnist.py runs seed
	$(BIN)/python benchmarks/mnist.py runs quick --hold-out
	$(BIN)/python benchmarks/cnn_workbook.py

clean:
	rm -rf .venv out

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
