# Everything a newcomer needs: `make run` and `make test`.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin

.PHONY: run test soak check bench lock clean

run: .venv/run.done
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py prepare_demo --host $(HOST) --port $(PORT)
	@exec $(BIN)/python manage.py serve --bind $(HOST) --port $(PORT) \
		--background demo.feed.publish_host_metrics

test: .venv/dev.done browser tools clients/js/node_modules/.done
	$(BIN)/pytest -n 3 --dist loadfile

# Floods, stuck clients, chance and churn, about eight minutes; `SOAK_SCALE=0.1 make soak` is a look.
soak: .venv/dev.done
	$(BIN)/pytest -s tests/soak

check: .venv/dev.done clients/js/node_modules/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=clients/python $(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive project accounts realtime demo clients/python/realtime_client
	$(BIN)/pip-audit --progress-spinner off --disable-pip --no-deps --requirement requirements.txt
	$(NPM) run --silent check

# Compare with other servers in one run, about nine minutes: docs/performance.md says how.
bench: .venv/bench.done
	@$(BIN)/python -m benchmarks

# Write the exact versions of everything that the ranges allow today.
lock: .venv/dev.done
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-header --python-version 3.11 requirements.in --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-header --python-version 3.11 requirements-dev.in --output-file requirements-dev.txt

# The tests open the page in Chromium, which no Python package brings along.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || { \
		echo "Chromium is missing; installing Debian's package"; \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq chromium >/dev/null; }

# The tests run the files of deploy/ in the real programs. Where those are not installed, Debian's
# packages are unpacked below .venv: nothing is installed or started.
.PHONY: tools
tools: .venv/dev.done
	@PATH="$$PATH:/usr/sbin:$(CURDIR)/.venv/tools/usr/sbin:$(CURDIR)/.venv/tools/usr/bin"; \
	if ! command -v nginx >/dev/null || ! command -v prometheus >/dev/null; then \
		echo "nginx or Prometheus is missing; unpacking Debian's packages into .venv/tools"; \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		mkdir -p .venv/tools && cd .venv/tools && $$SUDO apt-get update -qq && \
		apt-get download -qq nginx nginx-common prometheus && \
		for package in *.deb; do dpkg-deb --extract "$$package" . && rm "$$package"; done; \
	fi

# The JavaScript client needs nothing to run; its types and tests are checked with Node, which is
# among the Python packages for development, and with packages of its own.
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix clients/js

clients/js/node_modules/.done: clients/js/package-lock.json .venv/dev.done
	$(NPM) ci --silent --no-audit --no-fund
	@touch $@

.venv/python.done:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/run.done: .venv/python.done requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev.done: .venv/python.done requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ .venv/run.done

.venv/bench.done: .venv/dev.done benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

clean:
	rm -rf .venv var clients/js/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
