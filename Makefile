# make demo: every step on a drawn competition. make test: lint and tests. Both create .venv if it is missing.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
export NO_ALBUMENTATIONS_UPDATE = 1

.PHONY: help demo lint test test-fast slow faults mutants gpu-check docs bench growth clean

help:
	@echo "make demo    draw a small competition, check, split, train, predict: submissions/demo.csv in minutes"
	@echo "make test    run lint, mypy and the default tests"
	@echo "make test-fast    run the tests that start no program, in less than a minute"
	@echo "make slow    run the tests that take minutes, e.g. kills at random moments"
	@echo "make faults  disturb every program by kills, obstacles and full disks, in an hour; writes tests/faults/RESULTS.md"
	@echo "make mutants    put COUNT=300 mistakes into the code, one at a time, and count those that a test notices, in an hour"
	@echo "make gpu-check    on the first day with a GPU: check what only a GPU can show, and print one table"
	@echo "make docs    build docs/configuration.md and the pages in site/, with MkDocs"
	@echo "make bench   compare the speed with timm, fastai and Lightning on this machine, in about an hour"
	@echo "make growth  measure how costs grow with the number of images, in minutes"
	@echo "make clean   remove the virtual environments, site/ and the files of the demo"

# The stamp is written last, so an interrupted installation is run again.
.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; run make PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/.done
	$(RUN) -m comp data demo
	$(RUN) -m comp data check -c configs/demo.yaml
	$(RUN) -m comp folds -c configs/demo.yaml
	$(RUN) train.py -c configs/demo.yaml
	$(RUN) infer.py demo
	$(RUN) -m comp submit check submissions/demo.csv
	$(RUN) -m comp report demo
	@echo
	@echo "Those were all steps. With your own images in input/NAME/train/<class>/ and input/NAME/test/:"
	@echo "  $(RUN) -m comp data check data.root=input/NAME"
	@echo "  $(RUN) -m comp folds data.root=input/NAME"
	@echo "  $(RUN) train.py data.root=input/NAME"
	@echo "and the infer.py command that train.py prints in its last line."

lint: .venv/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A process per core with one thread each: two threads in each of two processes wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto

test: lint
	$(PYTEST) --dist loadfile

test-fast: .venv/.done
	$(PYTEST) --dist worksteal -m 'not slow and not program'

slow: .venv/.done
	$(RUN) -m pytest -m slow

faults: .venv/.done
	OMP_NUM_THREADS=1 WANDB_MODE=disabled $(RUN) -m tests.faults

# COUNT=0: all 4,400. An interrupted run continues; FRESH=1 begins again.
COUNT ?= 300
SEED ?= 0
mutants: .venv/.done
	$(RUN) -m tests.mutants --count $(COUNT) --seed $(SEED) $(if $(FRESH),--fresh)

gpu-check: .venv/.done
	$(RUN) -m tests.gpu_check

.venv/.docs-done: .venv/.done
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

docs: .venv/.docs-done
	$(RUN) docs/generate_configuration.py
	$(BIN)/mkdocs build --strict

# The peers have their own environment, which sees the kit's packages too: torch is not installed twice.
.venv-bench/.done: .venv/.done tests/benchmarks/requirements.txt constraints.txt
	$(RUN) -m venv --clear .venv-bench
	PACKAGES=$$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	$(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$PACKAGES/kit.pth"
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r tests/benchmarks/requirements.txt
	touch $@

# SIZES='2000 10000 50000 200000' measures 200,000 images too.
SIZES ?= 2000 10000 50000
growth: .venv/.done
	OMP_NUM_THREADS=1 $(RUN) -m tests.benchmarks.growth_table $(SIZES)

bench: .venv/.done .venv-bench/.done
	PYTHONPATH=. $(RUN) tests/benchmarks/compare.py

clean:
	rm -rf .venv .venv-bench site input/demo folds/demo.* submissions/demo.* submissions/demo[+-]* \
		runs/demo runs/demo-submissions runs/blends/demo runs/reports/demo runs/submissions/demo.png runs/.cache
