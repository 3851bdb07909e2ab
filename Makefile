# The commands of this repository. `make help` lists them.

PORT ?= 8080
PROCESSES ?=
ARGS ?=
WORKERS ?= auto
PACKAGES := gateway auth_service records_service workflow_service shared
VENV := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run status test check images images-check kubernetes-check kubernetes-run format load bench rolling faults failover restore-check soak openapi graph capacity schema events \
	migrate clean lock environment environment-dev environment-kubernetes

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: environment ## run the whole system with a demo workspace, until Ctrl-C (PORT=8080, PROCESSES="records_service=2")
	@$(VENV) -m deploy.local --port $(PORT) --processes "$(PROCESSES)"

status: environment ## show what a running make run consists of, and how each part is (ARGS=--json)
	@$(VENV) -m deploy.local.status $(ARGS)

# The order of the files is that of tests/conftest.py.
# Without a Redis, npm, sshd or curl, the tests that need it say that they are skipped.
test: environment-dev ## all tests, on private servers (ARGS="-k word", WORKERS=0 for one process)
	@$(VENV) -m deploy.local.binaries
	@$(VENV) -m deploy.local.binaries redis-server || true
	@$(VENV) -m deploy.local.binaries curl || true
	@$(VENV) -m deploy.local.binaries npm || true
	@$(VENV) -m deploy.local.binaries sshd=openssh-server || true
	@$(VENV) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: environment-dev ## check format, lint, types and import rules
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .
	$(VENV) -m mypy --strict $(PACKAGES) deploy
	.venv/bin/lint-imports

kubernetes-check: environment-dev environment-kubernetes ## check the Kubernetes manifests (CRDS=<folder> for the full schemas of operators)
	@$(VENV) -m deploy.kubernetes.check $(if $(CRDS),--crds "$(CRDS)")

images: environment ## build the container image sigma-pim (ARGS="--base IMAGE")
	@$(VENV) -m deploy.image build $(ARGS)

images-check: environment ## build the image twice and try all that it promises (some minutes)
	@$(VENV) -m deploy.image check $(ARGS)

kubernetes-run: environment-dev environment-kubernetes images ## run the overlay dev with podman, and create a record in it
	@$(VENV) -m deploy.kubernetes.play

format: environment-dev ## format the code and fix lint
	$(VENV) -m ruff format .
	$(VENV) -m ruff check --fix .

load: environment ## import a catalogue: make load DATA=<folder> (ARGS=... are passed on)
	@test -n "$(DATA)" || { echo 'DATA is missing: make load DATA=<folder>'; exit 2; }
	@$(VENV) -m deploy.importers "$(DATA)" $(ARGS)

bench: environment-dev ## measure speed, each figure next to its floor (some minutes)
	@$(VENV) -m deploy.local.binaries wrk
	@$(VENV) -m benchmarks $(ARGS)

rolling: environment-dev ## restart every service under load; nobody may notice (ARGS="--drain 0")
	@$(VENV) -m tests.rolling $(ARGS)

faults: environment-dev ## break everything while clients write; nothing may be lost (ARGS="kill-broker", ARGS=--planted)
	@$(VENV) -m deploy.local.binaries
	@$(VENV) -m deploy.local.binaries iptables || true
	@$(VENV) -m tests.faults $(ARGS)

failover: environment-dev ## lose the servers that lead while clients write (ARGS="kill-primary", ARGS=--planted, ENGINES=trixie)
	@$(if $(ENGINES),true,$(VENV) -m deploy.local.binaries)
	@$(VENV) -m deploy.local.binaries iptables || true
	@$(VENV) -m tests.failover $(ARGS)

restore-check: environment-dev ## set three databases back to one moment under the running system
	@$(VENV) -m deploy.local.binaries
	@$(VENV) -m tests.restores

MINUTES ?= 30
soak: environment-dev ## use every surface for a while; nothing may grow (MINUTES=30)
	@$(VENV) -m deploy.local.binaries
	@$(VENV) -m deploy.local.binaries faketime
	@$(VENV) -m tests.soak --minutes $(MINUTES) $(ARGS)

openapi: environment-dev ## write gateway/openapi.json and the page of errors
	@$(VENV) -m deploy.openapi

graph: environment-dev ## draw the import graph in docs/import-graph.md
	@$(VENV) -m deploy.import_graph

capacity: environment-dev ## write docs/scale.md and the requests of pods from the measured unit costs (ARGS="--records 4000000 --writes 120" shows a size of yours)
	@$(VENV) -m deploy.capacity $(ARGS)

schema: environment ## write the present database schema of each service to <service>/schema.sql
	@$(VENV) -m deploy.schema

events: environment ## print the events of a running make run, until Ctrl-C
	@$(VENV) -m deploy.local.events

migrate: environment ## apply missing migrations to the databases of a running make run
	@$(VENV) -m deploy.local.migrate

clean: ## remove the data, keys and logs of make run, and the caches of tools
	@deploy/local/clean.sh

lock: ## update the lock files (ARGS=--upgrade for newer versions)
	@deploy/local/lock.sh $(ARGS)

environment:
	@deploy/local/environment.sh requirements-exports.lock

environment-dev:
	@deploy/local/environment.sh requirements-dev.lock

environment-kubernetes:
	@deploy/local/environment.sh requirements-kubernetes.lock .run/kubernetes-venv
