# Two commands: `make demo` and `make test`. Both make .venv, install what they need, and can be run again at any time.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo frontend test test-frontend test-long lint bench pictures models clean debian

demo: $(VENV)/.demo frontend
	$(BIN)/vitscope demo

# The interactive view, built into the package by the Node that pip brings; nothing is done where its sources have not changed.
frontend: $(VENV)/.demo
	@$(BIN)/python hatch_build.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vitscope needs Python 3.11 or newer; found: $$($(PYTHON) --version)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first, so that no other package chooses a build of it.
$(VENV)/.demo: requirements/demo.txt pyproject.toml hatch_build.py | $(BIN)/python
	$(PIP) install --quiet $$(head -n 1 requirements/demo.txt)
	$(PIP) install --quiet -r requirements/demo.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Tests also use timm, torchvision and open_clip. torchvision's wheels expect a CUDA build of torch; tests/support/torchvision_cpu.py
# declares the two operators its import looks for, so that it imports beside a CPU build.
$(VENV)/.test: $(VENV)/.demo requirements/test.txt requirements/test-nodeps.txt tests/support/torchvision_cpu.py
	$(PIP) install --quiet -r requirements/test.txt
	$(PIP) install --quiet --no-deps -r requirements/test-nodeps.txt
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  cp tests/support/torchvision_cpu.py "$$site/_torchvision_cpu.py" && echo 'import _torchvision_cpu' > "$$site/_torchvision_cpu.pth"
	@touch $@

# The browser tests drive Debian's Chromium.
debian:
	@sh tests/support/install_chromium.sh

test-frontend: $(VENV)/.demo
	$(BIN)/python hatch_build.py check test

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.test debian frontend lint test-frontend
	$(BIN)/python -m pytest -m "not long" --durations=15 $(ARGS)

test-long: $(VENV)/.test debian frontend
	$(BIN)/python -m pytest -m long --timeout=3600 --durations=15 $(ARGS)

bench: $(VENV)/.test
	$(BIN)/python bench/attention.py

pictures: $(VENV)/.test debian frontend
	$(BIN)/python docs/make_pictures.py

# The table of models: what changed since is measured again, one process, about a quarter of an hour for all of it.
models: $(VENV)/.test
	$(BIN)/python docs/make_models_table.py

clean:
	rm -rf $(VENV) build dist out frontend/node_modules src/vitscope/web/static
