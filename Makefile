# The README's commands. Each makes .venv first, if it is not there or if the project's needs have changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The versions that were tested; empty takes the newest: make demo CONSTRAINTS=
CONSTRAINTS ?= -c constraints.txt
# Tests at a time: on two cores four, since half of the time they wait for what they have started. Each may load
# torch, so 3 GB for one.
JOBS ?= 4
# They start a thousand processes, each of which would compile the program anew.
unexport PYTHONDONTWRITEBYTECODE
# The oldest of everything, and the tests that touch it most.
OLDEST := .venv-floors
AT_FLOORS := $(addprefix tests/, cli hub manifest/test_grids.py memory/test_profiles.py plan store/test_metadata.py \
	$(addprefix catalogue/test_, $(addsuffix .py, configs families signatures weights)) \
	$(addprefix render/test_, $(addsuffix .py, attention families from_files latents loading loras memory \
		random_weights sana_kinds schedulers session)))

.PHONY: demo test cluster check format floors torture scale clean

demo: $(VENV)/installed  ## render jobs/quickstart.yaml
	$(BIN)/python run_batch.py jobs/quickstart.yaml

test: $(VENV)/installed-dev  ## run the tests, four at a time
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not cluster"

cluster: $(VENV)/installed-dev  ## run all tests of Ray, on a cluster of several nodes on this machine: ten minutes
	$(BIN)/python -m pytest tests/engines/ray tests/engines/contract -m cluster

check: $(VENV)/installed-dev  ## lint, types, imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

format: $(VENV)/installed-dev  ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

floors: $(OLDEST)/installed  ## run some tests with the oldest that pyproject.toml lets in: five minutes
	$(OLDEST)/bin/python -m pytest -n $(JOBS) -m "not slow" $(AT_FLOORS)

torture: $(VENV)/installed-dev  ## kill a run 200 times, its workers every few images, every command on every damage: 40 minutes
	$(BIN)/python benchmarks/torture.py
	$(BIN)/python benchmarks/worker_deaths.py
	$(BIN)/python benchmarks/worker_deaths.py --engine ray
	RUN_BATCH_MATRIX=all $(BIN)/python -m pytest -n $(JOBS) tests/upkeep/test_matrix.py

scale: $(VENV)/installed-dev  ## what a run costs beside rendering, up to 100,000 images: an hour
	$(BIN)/python benchmarks/scale.py 1000 10000 100000

clean:  ## remove the environments and caches; outputs stay
	rm -rf $(VENV) $(OLDEST) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("run_batch needs Python 3.11 or newer; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e ".[dev]"
	touch $@ $(VENV)/installed

# No wheel for the oldest Python: then the floor is too low.
$(OLDEST)/installed: pyproject.toml constraints.txt tools/floors.py
	$(PYTHON) -m venv --clear $(OLDEST)
	$(PYTHON) tools/floors.py > $(OLDEST)/floors.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		-c $(OLDEST)/floors.txt -e ".[test]"
	touch $@
