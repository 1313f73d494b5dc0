# Everything a fresh machine needs is Python 3.11 or newer with its venv module, and make.
#
#   make demo    analyse a real and a simulated study, and say where to look
#   make test    make check, then install and run the tests
#   make check   formatting, lint, types, layers
#   make docs    build the documentation into docs/_build/html
#   make notebooks   run the tutorials again and keep what they show
#   make bench   compare speed with peers, side by side, in an environment of its own
#   make benchsteps   the same for a step of pretraining, beside lightly
#   make web     check, test and build the front end of the page (needs Node 20.19 or newer; users need none)
#   make gpu-run   train on a GPU machine from this source tree, without installing (docs/guides/gpu-in-minutes.md)
#   make clean   remove environments and everything that was built

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
DEMO ?= demo
# processes that run tests side by side, with one thread each
TEST_WORKERS ?= 2
SOURCES := src tests docs benchmarks deploy

.PHONY: demo test check docs notebooks bench benchsteps web gpu-run clean

demo: $(VENV)/.installed-demo
	$(BIN)/echoapex demo --out $(DEMO)

test: check
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

notebooks: $(VENV)/.installed-dev
	$(BIN)/python docs/run_tutorials.py

# torchvision brings a torch of its own, so that peers never share an environment with EchoApex
bench: $(VENV)/.installed-demo .venv-bench/.installed-peers
	$(BIN)/python benchmarks/analyze_speed.py --peer-venv .venv-bench $(BENCH_ARGS)
	$(BIN)/python benchmarks/analyze_memory.py

benchsteps: $(VENV)/.installed-test .venv-bench/.installed-pretrain-peers
	$(BIN)/python benchmarks/pretrain_step.py --peer-venv .venv-bench $(BENCH_ARGS)

web:
	cd web && npm ci --no-audit --no-fund && npm run check && npm test && npm run build

gpu-run:
	$(PYTHON) benchmarks/gpu_run.py $(GPU_ARGS)

clean:
	rm -rf .venv .venv-bench .venv-peers docs/_build build dist web/node_modules .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "EchoApex needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { echo "Python has no venv module here; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.installed-demo $(VENV)/.installed-test $(VENV)/.installed-docs $(VENV)/.installed-dev: \
		$(VENV)/.installed-%: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing EchoApex and the packages of its extra '$*' into $(VENV): some minutes, PyTorch is the largest part."
	@began=$$(date +%s); $(PIP_INSTALL) -e '.[$*]' && echo "Installed in $$(($$(date +%s) - began)) s."
	@touch $@

.venv-bench/.installed-peers: benchmarks/peer-requirements.txt
.venv-bench/.installed-pretrain-peers: benchmarks/pretrain-peer-requirements.txt
.venv-bench/.installed-peers .venv-bench/.installed-pretrain-peers:
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
