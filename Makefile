PYTHON ?= python3
# More arguments for pip, for example another index; docs/tutorial.md, "Install", says when
PIP_ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
GMVAE := $(BIN)/gmvae

.DELETE_ON_ERROR:
.PHONY: install test test-s3 test-cluster test-slow test-all coverage mutants lint types check demo sample-data docs reference examples dist bench recovery quality fuzz faults clean

# make .venv, with gmvae and its tools at the tested versions
install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[dev]'
	touch $@

# More arguments for pytest
TEST_ARGS ?=
# one process of tests for each core, each of which computes on that core alone
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

# a prefix that takes loopback alone, as nothing else is there to be listened on; empty where that may not be
IN_OWN_NETWORK = $(shell unshare --net ip link set lo up 2>/dev/null && echo "unshare --net sh -c 'ip link set lo up && exec \"\$$@\"' sh")

# every test that takes seconds; three to four minutes in all on two cores
test: $(INSTALLED)
	$(PYTEST) $(TEST_ARGS)

# the tests of files at s3://, against a server in memory on this machine, made into .venv-s3
test-s3: $(INSTALLED) .venv-s3/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m s3

.venv-s3/.installed: tests/storage/requirements.txt
	$(PYTHON) -m venv .venv-s3
	.venv-s3/bin/python -m pip install --quiet $(PIP_ARGS) --requirement tests/storage/requirements.txt
	touch $@

# the tests of clusters, Dask's on loopback, Ray's in a network of their own where this may be made
test-cluster: $(INSTALLED) .venv/.cluster
	OMP_NUM_THREADS=1 $(IN_OWN_NETWORK) $(BIN)/python -m pytest -q -m cluster

.venv/.cluster: $(INSTALLED)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[dask,ray]'
	touch $@

# the tests that take longer; the first failure ends them
test-slow: $(INSTALLED)
	$(PYTEST) -x -m slow

# every test
test-all: $(INSTALLED)
	$(PYTEST) -m ''

# the tests with the lines and branches that none of them reaches; fails below 97 %
coverage:
	$(MAKE) test TEST_ARGS="--cov --cov-report= --cov-fail-under=0"
	$(BIN)/coverage report

# nearly two hundred deliberate mistakes, each of which must turn a test red; minutes. MUTANTS="--within 200" ends earlier
mutants: $(INSTALLED)
	$(BIN)/python tests/mutants.py $(MUTANTS)

# style of the code, and its layout
lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

# the type checker, strict
types: $(INSTALLED)
	$(BIN)/mypy

# all that must hold before a change goes in
check: test fuzz lint types demo

# two real recordings segmented, into demo/
demo: $(INSTALLED)
	mkdir -p demo
	$(GMVAE) train sample_data/us_gnp_growth.csv --model demo/us_gnp_growth.safetensors --regimes 2 --covariance shared
	$(GMVAE) infer sample_data/us_gnp_growth.csv --model demo/us_gnp_growth.safetensors --output demo/us_gnp_growth.csv --segments demo/us_gnp_growth_segments.csv
	$(GMVAE) evaluate demo/us_gnp_growth.csv
	$(GMVAE) plot demo/us_gnp_growth.csv --output demo/us_gnp_growth.png
	$(GMVAE) segment sample_data/exercise.csv --output demo/exercise.csv --segments demo/exercise_segments.csv --model demo/exercise.safetensors --plot demo/exercise.png
	$(GMVAE) evaluate demo/exercise.csv
	@echo "written to demo/: a model, the rows with their regimes, the segments and a picture for each series"

# the manual, into site/; a broken link ends it
docs: $(INSTALLED)
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --doctree-dir build/doctrees docs site

# the help texts in docs/reference/commands.md, again from the program
reference: $(INSTALLED)
	$(BIN)/python docs/generate_reference.py

# what the console blocks of README.md and docs/ show, again from the program
examples: $(INSTALLED)
	$(BIN)/python docs/generate_examples.py

# the source archive and the wheel, into dist/
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist

# the simulated files of sample_data/, again from their seed
sample-data: $(INSTALLED)
	$(BIN)/python sample_data/make_press.py sample_data/press.csv
	$(GMVAE) simulate sample_data/switching_iid.csv --prior iid --steps 5000 --seed 1
	$(GMVAE) simulate sample_data/switching_iid.parquet --prior iid --steps 5000 --seed 1

# speed, printed, on this machine
bench: $(INSTALLED)
	$(BIN)/python tests/bench.py

# what training finds in simulated series, beside what the true parameters get; minutes
recovery: $(INSTALLED)
	$(BIN)/python tests/recovery.py

# damaged models and series files, 2,000 of them, each rejected in one line or read; figures printed
fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz.py

# train and infer killed at random moments, 50 times each, and resumed; minutes
faults: $(INSTALLED)
	$(BIN)/python tests/faults.py

# More arguments of quality, for example QUALITY_ARGS="--only logs --seeds 1"
QUALITY_ARGS ?=
# how well segment finds known regimes, of generated series and of the recordings in DATA, a folder of folders; hours
quality: $(INSTALLED)
	-$(BIN)/python -m pip install --quiet --only-binary :all: $(PIP_ARGS) --requirement tests/quality/requirements.txt
	$(BIN)/python tests/quality/quality.py $(DATA) $(QUALITY_ARGS)

# remove all that the other targets made
clean:
	rm -rf .venv .venv-s3 demo build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find gmvae_cli tests -name __pycache__ -type d -prune -exec rm -rf {} +
