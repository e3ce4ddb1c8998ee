# The verbs of the stack; `make` alone lists them. The work is done in scripts/host/verbs/, here is only what Python is
# needed for. Every knob can be given as well: `make up RUNTIME=local`, `make up API_PORT=9000`.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python
# unbuffered, so that its lines and those of the commands that it runs stay in order
STACK := @$(PYTHON) -u -m scripts.host.stack
# ours, and what the application needs beside it
LOCKS := requirements.lock requirements-dev.lock $(wildcard app/requirements.lock)
SHELL_SCRIPTS := $(wildcard images/*.sh images/*/*.sh scripts/host/*.sh .ci/*.sh .ci/run)

# make's own command-line options must not reach programs that it starts
unexport MAKEFLAGS MFLAGS

# Nor must what a shell tells other programs, see docs/reference.md. A knob counts in the shell, but not where Ray reads
# the same variable. On make's command line everything counts.
FOREIGN := RAY_% PYTHON% VIRTUAL_ENV GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX \
	COMPOSE_FILE COMPOSE_ENV_FILES COMPOSE_DISABLE_ENV_FILE COMPOSE_PATH_SEPARATOR COMPOSE_ANSI COMPOSE_PROGRESS \
	COMPOSE_STATUS_STDOUT COMPOSE_REMOVE_ORPHANS COMPOSE_IGNORE_ORPHANS COMPOSE_COMPATIBILITY COMPOSE_CONVERT_WINDOWS_PATHS \
	DOCKER_API_VERSION DOCKER_BUILDKIT DOCKER_CONTENT_TRUST DOCKER_DEFAULT_PLATFORM BUILDX_BUILDER BUILDKIT_PROGRESS \
	BASH_ENV CDPATH SHELLOPTS BASHOPTS POSIXLY_CORRECT
OURS := RAY_AGENT_PORT RAY_CLIENT_PORT RAY_TEMP_DIR RAY_WORKER_CPUS RAY_WORKER_REPLICAS PYTHON_FOR_VENV
ARGUMENTS := A ARGS FILE FOLLOW HEAD M MINUTES N OFF S SEED UPGRADE YES
of_shell = $(foreach name,$(filter $(1),$(.VARIABLES)),$(if $(findstring environment,$(origin $(name))),$(name)))
# for the verbs, which refuse a misspelt knob, and say of one that a running stack cannot follow
export GIVEN := $(strip $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name))))
export LEFT_OUT := $(filter-out $(OURS),$(call of_shell,$(FOREIGN)))
unexport $(LEFT_OUT)
$(foreach name,$(call of_shell,$(ARGUMENTS)),$(eval override undefine $(name)))
# What the shell excepts from its proxy; images/ray.env adds the stack to it.
export EXCEPT_FROM_PROXY := $(or $(NO_PROXY),$(no_proxy),localhost)
# whatever the locale, since messages have more than Latin letters
export PYTHONUTF8 := 1

.PHONY: up down clean restart reload-actors bootstrap verify monitor doctor support-bundle backup restore logs ps debug debug-ray run shell scale cluster-ports invite join leave token rotate-token test test-slow faults soak bench lint lock help

up: .venv/installed ## start the stack and wait until it is healthy; RUNTIME=docker|local forces one
	$(STACK) up

down: .venv/bin/python ## stop the stack; the items stay
	$(STACK) down

clean: .venv/bin/python ## stop the stack and delete all items, after asking; YES=1 does not ask
	$(STACK) clean $(if $(filter-out 0 no false,$(YES)),--yes)

restart: .venv/installed ## restart the API with the code on disk and wait until it is ready
	$(STACK) restart

reload-actors: .venv/installed ## restart the actors that run older code than is on the disk; ARGS=--all every one
	$(STACK) reload-actors $(ARGS)

bootstrap: .venv/installed ## create the singleton actors that are missing
	$(STACK) bootstrap

verify: .venv/installed ## prove that everything works, one line for each check
	$(STACK) verify $(ARGS)

monitor: .venv/installed ## show the singleton actors; ARGS=--json or ARGS=--watch
	$(STACK) monitor $(ARGS)

doctor: .venv/bin/python ## look for what keeps the stack from working, with the remedy beside it; ARGS=--json
	$(STACK) doctor $(ARGS)

support-bundle: .venv/bin/python ## gather versions, settings and logs in one archive, without secrets
	$(STACK) support-bundle

backup: .venv/installed ## copy all items into a file below backups/, or FILE=PATH
	$(STACK) backup $(if $(FILE),"$$FILE")

restore: .venv/installed ## replace all items by those of the newest backup, or FILE=PATH, after asking; YES=1 does not
	$(STACK) restore $(if $(FILE),"$$FILE") $(if $(filter-out 0 no false,$(YES)),--yes)

logs: .venv/bin/python ## show and follow the logs; S=SERVICE or A=ACTOR only of one, FOLLOW=0 ends at the last line
	$(STACK) logs $(if $(S),"$$S") $(if $(A),--actor="$$A") $(if $(FOLLOW),--follow="$$FOLLOW")

ps: .venv/bin/python ## show the state of each service
	$(STACK) ps

debug: .venv/installed ## restart the API under a debugger that an editor attaches to; OFF=1 ends it
	$(STACK) debug $(if $(filter-out 0,$(OFF)),--off)

debug-ray: .venv/installed ## attach this terminal to a breakpoint() in a task or actor
	$(STACK) debug-ray

run: .venv/installed ## run a program in the stack: make run M=app.jobs.primes ARGS=1000000
	$(STACK) run $(if $(M),"$$M",$(error say which module: make run M=app.jobs.primes)) $(ARGS)

shell: .venv/installed ## open a shell in the environment of the API
	$(STACK) shell

scale: .venv/installed ## run N ray-worker nodes: make scale N=3
	$(STACK) scale $(if $(N),"$$N",$(error say how many: make scale N=3))

cluster-ports: .venv/installed ## list the ports that a firewall between several machines must let through
	$(STACK) cluster-ports

invite: .venv/installed ## say how another machine joins this stack
	$(STACK) invite

join: .venv/installed ## offer this machine's CPUs to the stack of another one: make join HEAD=10.0.0.1
	$(STACK) join $(if $(HEAD),"$$HEAD",$(error say where the head is: make join HEAD=10.0.0.1))

leave: .venv/installed ## leave the stack of the other machine, when what runs here is done
	$(STACK) leave

token: .venv/installed ## show the token that the dashboard asks for
	$(STACK) token

rotate-token: .venv/installed ## replace Ray's token, and bring a running stack back with it; the items stay
	$(STACK) rotate-token

test: .venv/installed ## run the tests; ARGS="tests/unit -k words" only some
	@$(PYTHON) -m pytest --numprocesses=2 --no-loadscope-reorder $(ARGS)

test-slow: .venv/installed ## run the tests that take minutes each: rebuilt images, alerts, lost nodes
	@$(PYTHON) -m pytest --numprocesses=2 --no-loadscope-reorder tests/slow $(ARGS)

faults: .venv/installed ## kill, cut and fill the real containers under load; ARGS="-k power_cut" only some
	@$(PYTHON) -m pytest tests/faults $(ARGS)

soak: .venv/installed ## faults at random for MINUTES=10; the SEED=N that it prints repeats them
	@$(PYTHON) -m pytest tests/faults/test_soak.py --minutes=$(or $(MINUTES),10) $(if $(SEED),--seed=$(SEED))

bench: .venv/installed ## measure the stack beside Redis, diskcache and a bare actor; ARGS=--quick takes a minute
	@$(PYTHON) -m benchmarks $(ARGS)

lint: .venv/installed ## look for mistakes in format, types and shell scripts
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy $(if $(wildcard app/*.py),,seedcore scripts) # it refuses a folder without Python
	.venv/bin/shellcheck $(SHELL_SCRIPTS)

lock: .venv/bin/uv ## write the lock files anew after app/requirements.txt or pyproject.toml changed; UPGRADE=1 takes the newest versions
	@scripts/host/lock.sh $(if $(filter-out 0,$(UPGRADE)),--upgrade)

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The virtual environment that all verbs run in; made anew when a lock file changed.
.venv/installed: $(LOCKS)
	@scripts/host/make_venv.sh $(LOCKS)

# For the verbs that must work without a network: whatever there is already.
.venv/bin/python .venv/bin/uv:
	@scripts/host/make_venv.sh $(LOCKS)

# Verbs of your own. They know the knobs as $(API_PORT): what make or the shell says, else .env.local, else .env.
ifneq ($(wildcard Makefile.local),)
of_files := sed -nE "s/^([A-Z][A-Z0-9_]*)=([^ \$$\#'\"]*)$$/\1?=\2/p"
$(foreach line,$(foreach file,$(wildcard .env.local) .env,$(shell $(of_files) $(file))),\
	$(if $(filter $(ARGUMENTS),$(firstword $(subst ?=, ,$(line)))),,$(eval $(line))))
-include Makefile.local
endif
