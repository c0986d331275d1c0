# Every target makes the virtual environment that it needs (.venv*) and uses it again until pyproject.toml changes.
#
#   make demo       train the digits classifier; dumps in out/digits
#   make test       the tests, without PyTorch
#   make oracle     comparisons with PyTorch
#   make test-all   all tests with full grids: many minutes
#   make check      ruff and mypy
#   make bench      training steps beside JAX and PyTorch
#
# PYTHON=python3.12 chooses the interpreter, JOBS=1 the number of test processes, ARGS="-k optim" adds arguments to pytest.

PYTHON ?= python3
JOBS ?= auto
ARGS ?=
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
PYTEST = -m pytest -q -n $(JOBS) --dist worksteal

.PHONY: demo test oracle test-all check bench clean
.DELETE_ON_ERROR:

demo: .venv/installed
	.venv/bin/python examples/digits.py

test: .venv/installed
	.venv/bin/python $(PYTEST) $(ARGS)

oracle: .venv-oracle/installed
	.venv-oracle/bin/python $(PYTEST) tests/oracle $(ARGS)

test-all: .venv-oracle/installed
	HYPOTHESIS_PROFILE=thorough .venv-oracle/bin/python $(PYTEST) -m "slow or not slow" tests tests/oracle $(ARGS)

# mypy sees the folders laid out as they install: passes and runtime inside graphc.
check: .venv-check/installed
	.venv-check/bin/ruff check --output-format concise .
	rm -rf .venv-check/tree && mkdir -p .venv-check/tree/graphc
	ln -s $(addprefix $(CURDIR)/,$(wildcard graphc/*) passes runtime) .venv-check/tree/graphc/
	cd .venv-check/tree && ../bin/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir ../cache -p graphc

bench: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks steps $(ARGS)

clean:
	rm -rf .venv .venv-* out build dist *.egg-info

.venv/installed: EXTRAS = -e '.[test,examples]'
.venv-oracle/installed: EXTRAS = -e '.[test,examples,oracle]'
.venv-bench/installed: EXTRAS = -e '.[examples,bench]'
.venv-check/installed: EXTRAS = -e '.[check]'

.venv/installed .venv-oracle/installed .venv-bench/installed .venv-check/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "graphc needs Python 3.11 or newer; say which with PYTHON=python3.12"; exit 1; }
	@echo "making $(@D) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) $(EXTRAS)
	@touch $@
