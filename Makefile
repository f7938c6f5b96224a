# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS := 1

.PHONY: install demo test check bench clean study-sb3 study-deep-sea study-labels study-kill study-parity
.PHONY: study-time-to-solve study-how-far

PIP = $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/sandbox demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m benchmarks.world_speed
	$(BIN)/python -m benchmarks.learner_speed

# Long scientific checks: each writes a small file to studies/results with its command, versions and commit.
study-sb3: install
	$(BIN)/python -m studies.sb3_equivalence

study-deep-sea: install
	$(BIN)/python -m studies.deep_sea

study-labels: install
	$(BIN)/sandbox batch studies/labels.toml

study-kill: install
	$(BIN)/python -m studies.kill_resume

study-parity: install
	$(BIN)/python -m benchmarks.parity

study-time-to-solve: install
	$(BIN)/python -m studies.time_to_solve

study-how-far: install
	$(BIN)/python -m studies.how_far

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
