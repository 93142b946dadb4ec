# make demo: the whole path on a drawn competition. make test: lint and tests. Both make .venv if it is missing.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
export NO_ALBUMENTATIONS_UPDATE = 1

.PHONY: help demo test slow clean

help:
	@echo "make demo    draw, check, split, train, ensemble: submissions/demo.csv in a few minutes"
	@echo "make test    lint and the default tests"
	@echo "make slow    the tests that take minutes (kills at random moments, and the like)"
	@echo "make clean   remove .venv and what the demo made"

# The stamp is written last: an installation that was cut short is done again.
.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; say make PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/.done
	$(RUN) -m comp data demo
	$(RUN) -m comp data check -c configs/demo.yaml
	$(RUN) -m comp folds -c configs/demo.yaml
	$(RUN) train.py -c configs/demo.yaml
	$(RUN) infer.py demo
	@echo
	@echo "That was the whole path. With your own images in input/NAME/train/<class>/ and input/NAME/test/:"
	@echo "  $(RUN) -m comp data check data.root=input/NAME"
	@echo "  $(RUN) -m comp folds data.root=input/NAME"
	@echo "  $(RUN) train.py data.root=input/NAME"
	@echo "and infer.py as the last line of train.py says."

test: .venv/.done
	$(BIN)/ruff check .
	$(RUN) -m pytest

slow: .venv/.done
	$(RUN) -m pytest -m slow

clean:
	rm -rf .venv input/demo folds/demo.* submissions/demo.* runs/demo runs/.cache
