# nhin: what can be done here. `make` lists it; the first run of a target fetches what it needs into .venv.
PYTHON ?= python3
RECIPE ?= reader-small
OUT ?= runs/$(RECIPE)
ARGS ?=
# Where tensors have shapes to check; elsewhere types are protocols, which pyright checks.
SHAPES = nhin.attention,nhin.layers,nhin.models,shape_checks.check
# Taken as typed: a picture's name may hold spaces, quotes and dollar signs.
override IMAGE := $(value IMAGE)
export IMAGE ARGS

VENV = command -v $(PYTHON) >/dev/null || { echo "nhin: there is no $(PYTHON) here: name one, as in make $@ PYTHON=python3.12" >&2; exit 1; }; $(PYTHON) scripts/venv.py
RUN = .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help read test oracles check format lint types imports sizes house bench bench-gpu pages fonts train clean

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

read: ## read the bundled street sign, or IMAGE="photo.jpg more.jpg" (ARGS="--format json")
	@$(VENV) read
	@$(RUN) scripts/read.py

test: ## run every test (adds torch and the tools to .venv)
	@$(VENV) test
	@$(RUN) -m pytest -q -n 2 --dist worksteal -m shapes --jaxtyping-packages=$(SHAPES) $(ARGS) || test $$? -eq 5  # 5: ARGS chose none of these
	@$(RUN) -m pytest -q -n 2 --dist worksteal -m "not shapes" $(ARGS) || test $$? -eq 5

oracles: ## compare with libraries written by others, fetched into .oracles (torch stays the one of .venv)
	@$(VENV) test
	@test .oracles/.fetched -nt scripts/oracles.txt || { rm -rf .oracles && $(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --target .oracles -r scripts/oracles.txt && touch .oracles/.fetched; }
	@PYTHONPATH=.oracles $(RUN) -m pytest -q tests/oracles $(ARGS)

check: format lint types imports sizes house ## check format, lint, types, import order, sizes and names (make -k check: all of them)

format: ## check formatting alone
	@$(VENV) test
	$(RUN) -m ruff format --check --quiet

lint: ## check lint alone
	@$(VENV) test
	$(RUN) -m ruff check --quiet

types: ## check types alone
	@$(VENV) test
	$(RUN) -m pyright

imports: ## check who imports whom alone
	@$(VENV) test
	.venv/bin/lint-imports

sizes: ## check sizes of files and functions alone
	@$(VENV) test
	$(RUN) scripts/sizes.py

house: ## check import cycles, hidden imports and names used twice alone
	@$(VENV) test
	$(RUN) scripts/house.py

bench: ## measure cost on this machine; results go to benchmarks/
	@$(VENV) test
	@for script in benchmarks/*.py; do test -e "$$script" || { echo "no benchmarks yet"; exit 0; }; case "$$script" in */gpu.py) continue;; esac; $(RUN) "$$script" $(ARGS) || exit 1; done

bench-gpu: ## time our GPU kernels beside PyTorch's (at most 8 minutes; needs a GPU and the extra gpu)
	@$(VENV) test
	@$(RUN) benchmarks/gpu.py $(ARGS)

pages: ## write the pages of docs/ that are made from docstrings and measurements
	@$(VENV) test
	@$(RUN) scripts/docs/build.py

fonts: ## fetch free font families into .fonts (needs npm) for richer synthetic pictures
	@command -v npm >/dev/null || { echo "nhin: npm is not here; any folder of .ttf files serves: nhin synth --fonts" >&2; exit 1; }
	@mkdir -p .fonts
	@test .fonts/.fetched -nt scripts/fonts.txt || { grep -v '^#' scripts/fonts.txt | xargs npm install --prefix .fonts --ignore-scripts --no-audit --no-fund --no-save --loglevel=error && touch .fonts/.fetched; }

train: ## train a reader: RECIPE=reader-small OUT=runs/reader-small (ARGS=--resume)
	@$(VENV) test
	NHIN_FONTS=.fonts $(RUN) -m nhin train $(RECIPE) --out $(OUT) $(ARGS)

clean: ## remove .venv and what tests and tools left behind
	rm -rf .venv .oracles .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist src/nhin.egg-info
	find . -name __pycache__ -type d -not -path './.fonts/*' -not -path './.oracles/*' -prune -exec rm -rf {} +
