# make demo   the main job on text that is already on this machine: about 8 minutes on two cores
# make test   all tests
# make lint   style, types, layers
#
# Each sets itself up in .venv first. Variables:
#   PYTHON=python3.12            the interpreter to use (3.11 or later)
#   PIP_ARGS="--index-url URL"   arguments for pip; on Linux without a GPU, the index of PyTorch's
#                                CPU builds as --extra-index-url spares gigabytes of CUDA libraries
#   ARGS="--budget 20m"          arguments for `scalelab run` in `make demo`

PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed
	$(BIN)/scalelab run $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e ".[train]"
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e ".[train,dev]"
	@touch $@ $(VENV)/installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "scalelab needs Python 3.11 or later; $(PYTHON) is older or missing."; \
	  echo "Name another: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; \
	  exit 2; }
