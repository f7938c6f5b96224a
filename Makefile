# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS := 1

.PHONY: install demo test check bench clean study-sb3 study-deep-sea study-labels study-labels-all study-kill study-parity
.PHONY: study-oracle study-time-to-solve study-how-far study-curiosity study-fly-hash study-msa study-jepa study-tuning

PIP = $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

FIRST = random ppo+noveld+inverse bc:labels=64 --env MiniGrid-MultiRoom-N4-S5-v0 --seeds 1 --steps 256

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@echo "a first, tiny study: it compiles what the demo needs, half a minute, once"
	@rm -rf $(VENV)/first
	@PYTHONDONTWRITEBYTECODE= $(BIN)/sandbox compare $(FIRST) --out $(VENV)/first >$(VENV)/first.log 2>&1 \
		|| { cat $(VENV)/first.log; exit 1; }
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

# The peers live in an environment of their own, with the same torch, SB3, gymnasium and minigrid as ours.
PEERS := .venv-bench
PEERS_PIP = $(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-compile

$(PEERS)/.installed: benchmarks/peers/requirements.txt constraints.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS_PIP) --constraint constraints.txt --requirement benchmarks/peers/requirements.txt
	$(PEERS_PIP) --no-deps rllte-core==1.0.1
	@touch $@

bench: install $(PEERS)/.installed
	$(BIN)/python -m benchmarks

# Long scientific checks: each writes a small file to studies/results with its command, versions and commit.
study-sb3: install
	$(BIN)/python -m studies.sb3_equivalence

study-deep-sea: install
	$(BIN)/python -m studies.deep_sea

study-labels: install
	$(BIN)/python -m studies.labels
	$(BIN)/python -m studies.pages

study-labels-all: install
	$(BIN)/python -m studies.labels --all-arms
	$(BIN)/python -m studies.pages

study-jepa: install
	$(BIN)/python -m studies.jepa
	$(BIN)/python -m studies.pages

study-kill: install
	$(BIN)/python -m studies.kill_resume

study-parity: install
	$(BIN)/python -m benchmarks.parity

study-oracle: install
	$(BIN)/python -m benchmarks.oracle

study-time-to-solve: install
	$(BIN)/python -m studies.time_to_solve

study-how-far: install
	$(BIN)/python -m studies.how_far

study-curiosity: install
	$(BIN)/python -m studies.curiosity
	$(BIN)/python -m studies.pages
	$(BIN)/python -m studies.methods

study-fly-hash: install
	$(BIN)/python -m studies.fly_hash

study-tuning: install
	$(BIN)/python -m studies.tuning
	$(BIN)/python -m studies.pages

study-msa: install
	$(BIN)/python -m studies.msa
	$(BIN)/python -m studies.pages

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
