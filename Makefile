# The commands of the house. All they need is make and a Python of 3.11 or newer; what they install goes into .venv and nowhere else.
PYTHON ?= python3
OUT ?= out
# Test processes: one per core, at most eight. `make test WORKERS=1` runs them one after the other.
WORKERS ?= logical
# Further arguments: make study STUDY="--nfe 5,10"   make test TESTS="tests/test_order.py -k dpmpp_2m"
STUDY ?=
TESTS ?=

VENV := .venv
PY := $(VENV)/bin/python
SCOREBED := $(VENV)/bin/scorebed
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# A stamp says: installed, from this pyproject.toml and these constraints, for a tree at this place (an editable install holds its path).
HERE := $(shell pwd | cksum | cut -d' ' -f1)
CORE := $(VENV)/.core-$(HERE)
DEV := $(VENV)/.dev-$(HERE)
PINS := pyproject.toml constraints.txt
ROOMS := solvers analytic toy gpu tests notebooks

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help site study test kill check format mutants claims museum learned figures clean distclean venv

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

study: $(CORE) ## install the core, run the study: table, figures and results in out/
	$(SCOREBED) study --out "$(OUT)" $(STUDY)

site: $(DEV) ## build the site into out/site/html
	$(PY) docs/build.py "$(OUT)/site"
	cd "$(OUT)/site" && NO_MKDOCS_2_WARNING=1 "$(CURDIR)/$(PY)" -m mkdocs build --strict --quiet -f mkdocs.yml

# One BLAS thread per process: the processes already fill the cores.
test kill mutants museum: export OMP_NUM_THREADS = 1
test kill mutants museum: export OPENBLAS_NUM_THREADS = 1
test kill mutants museum: export MKL_NUM_THREADS = 1
test kill mutants museum: export VECLIB_MAXIMUM_THREADS = 1
test kill mutants figures: export MPLBACKEND = Agg

test: $(DEV) ## install what the tests need, run all of them
	$(PY) -m pytest -n "$(WORKERS)" --maxprocesses 8 --dist worksteal --durations 10 $(TESTS)

kill: $(DEV) ## kill studies 200 times at random moments and see nothing lost
	SCOREBED_KILLS=200 $(PY) -m pytest tests/test_kill.py

check: $(DEV) ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(DEV) ## put the code in form, mend what the linter can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

mutants: $(DEV) ## corrupt every coefficient of every solver by 1 % and see a property fail
	$(SCOREBED) mutants --store "$(OUT)/mutants.sqlite"

claims: $(DEV) ## measure the claims of papers against closed form, each with a control that must fail
	$(SCOREBED) claims --out "$(OUT)/claims"

museum: $(DEV) ## look at every public defect of the museum: found, and its mended twin not flagged
	$(SCOREBED) museum

learned: $(DEV) ## train the small networks into out/learned once, and split their error
	$(SCOREBED) learned --out "$(OUT)/learned"

figures: $(DEV) ## draw every picture again: the studies into out/, the README's from them, the notebooks in place
	$(SCOREBED) study --out "$(OUT)" $(STUDY)
	$(SCOREBED) study --problems sphere --out "$(OUT)/sphere"
	$(SCOREBED) stability --out "$(OUT)/stability"
	$(SCOREBED) peers --out "$(OUT)/peers"
	mkdir -p docs
	cp "$(OUT)/work_precision.png" docs/work_precision.png
	cp "$(OUT)/sphere/trajectory_sphere.png" docs/sphere.png
	cp "$(OUT)/stability/heat_map.png" docs/stability.png
	cp "$(OUT)/peers/scoreboard.png" docs/peers.png
	$(PY) -m jupyter execute --inplace notebooks/*.ipynb
	$(PY) docs/palette.py notebooks/*.ipynb

clean: ## remove results, builds and caches
	rm -rf "$(OUT)" build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(ROOMS) -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## also remove .venv
	rm -rf $(VENV)

# Starts .venv afresh. Asked for only where there is no working .venv/bin/python.
venv:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "make: there is no '$(PYTHON)' here. Name a Python of 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: scorebed needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1)." >&2; \
	  echo "make: name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON)" --version 2>&1)"
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "make: '$(PYTHON)' could not make $(VENV); its venv module may be a package of its own (python3-venv)." >&2; exit 1; }

# The build backend is pinned like the rest, so that nothing is fetched to build and a second installation needs no network.
$(CORE): $(PINS) $(if $(shell test -x $(PY) && echo alive),,venv)
	@$(PY) -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory venv
	@echo "installing the core into $(VENV)"
	@rm -f $(VENV)/.core-* $(VENV)/.dev-*
	@$(PIP) install -c constraints.txt setuptools
	@$(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(DEV): $(CORE)
	@echo "installing what tests and checks need into $(VENV)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@$(PIP) install -c constraints.txt --no-deps azula k-diffusion flow-matching galaxygrad 21cmpsdenoiser sbibm cogent3
	@$(PIP) download -c constraints.txt --no-deps --no-build-isolation --no-binary diffcrysgen -d $(VENV)/share/scorebed diffcrysgen
	@touch $@
