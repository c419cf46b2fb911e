# Everything a person needs, the environment included. Nothing here needs a compiler; once .venv is made, nothing needs
# the network either.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then command -v $$p; break; fi; done)
VENV ?= .venv
RUN = $(VENV)/bin/python
WORKERS ?= 2
# further arguments of pytest, as SELECT='tests/api -k explain'
SELECT ?=
# what `make peers` compares with
PEERS ?= autograd jax numba pytensor torch

.DEFAULT_GOAL := help
.PHONY: help demo test bench peers programs readme lint typecheck check install clean

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "janusjit needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## make the environment in .venv

demo: $(VENV)/.installed ## train the digits network eagerly and under @jit; the comparison table and the guard report
	$(RUN) -m janusjit demo

test: $(VENV)/.installed ## run the tests
	$(RUN) -m pytest -q -n $(WORKERS) --dist worksteal $(SELECT)

bench: $(VENV)/.installed ## time the examples and the micro cases against NumPy, gradients against the peers installed
	$(RUN) -m benchmarks
	$(RUN) -m benchmarks peers --quick --threads 1 --only "gradient of"

peers: $(VENV)/.installed ## time janusjit beside JAX, PyTorch, Numba and PyTensor, as far as PEERS installs them
	$(RUN) -m pip install --quiet $(PEERS)
	$(RUN) -m benchmarks peers

programs: $(VENV)/.installed ## time programs of whole styles: layers, an autograd engine, an LSTM, word2vec, REINFORCE, trees
	$(RUN) -m benchmarks programs

readme: $(VENV)/.installed ## put what the demonstration prints into README.md
	$(RUN) docs/refresh_readme.py

lint: $(VENV)/.installed ## ruff
	$(RUN) -m ruff check .

typecheck: $(VENV)/.installed ## mypy --strict
	$(RUN) -m mypy

check: lint typecheck test ## lint, types and tests

clean: ## remove the environment and what tools leave behind
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
