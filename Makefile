# Everything here needs Python >= 3.11, make and a package index; nothing else.
#
#   make demo     the whole way on real data that ships with a dependency (about 2 minutes)
#   make test     the test suite (under 10 minutes on two cores)
#   make proof    the long checks: kills, faults, damage, the docs' commands, benchmarks at smoke size (under 25 minutes on two cores)
#   make kills    a training killed 10,000 times; goes on where it was stopped (KILLS=100 for fewer)
#   make lint     formatter, linter, strict type checker
#
# On Linux the package index serves PyTorch with CUDA (about 6.5 GB installed in all). To get the CPU build
# instead, name the CPU index that pytorch.org's install page shows:
#   make demo TORCH_INDEX=<that address>

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
KILLS  ?= 10000
SPACE  := $(if $(TORCH_INDEX),3,7.5)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export PYTHONUNBUFFERED = 1

.PHONY: demo test proof kills lint format clean

demo: $(VENV)/.installed
	$(BIN)/skipstone demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15 -m "not proof" tests

proof: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) -m proof -rfEP --durations=25 tests
	$(BIN)/python -m benchmarks --smoke --jobs $(JOBS)

kills: $(VENV)/.installed-test
	$(BIN)/python -m tests.training.crash kills --kills $(KILLS) --jobs $(JOBS) --sweep --log kills/kills.jsonl

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean:
	rm -rf $(VENV) demo runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("skipstone needs Python 3.11 or newer; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(f"{free:.1f} GB are free here, the install takes $(SPACE); free some, or take the CPU build of PyTorch: make TORCH_INDEX=... (see the top of the Makefile)" if free < $(SPACE) else 0)'
	$(PYTHON) -m venv $(VENV)
ifdef TORCH_INDEX
	$(PIP) --no-deps --index-url $(TORCH_INDEX) torch torchvision
endif
	$(PIP) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[test,lint]'
	touch $@
