# make run    set everything up and make, then prove, the workbook: the files are in out/
# make test   set everything up and run the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint docs bench clean

run: .venv/ready
	$(BIN)/gradsheet demo --out out

test: .venv/ready
	$(BIN)/python -m pytest -n auto

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/ready
	$(BIN)/python docs/make.py

bench: .venv/ready
	$(BIN)/python benchmarks/workbook.py
	$(BIN)/python benchmarks/sweep.py

clean:
	rm -rf .venv out

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
