"""What holds for files of the template that are no Python; a project made from it may have others."""

import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pictures import MAX_BYTES
from scripts.host.runtime import PROMETHEUS, SERVICES, VALKEY
from scripts.host.stack import VERBS
from seedcore.settings import PROJECT_ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
SHELL_SCRIPTS = sorted(
    [
        *PROJECT_ROOT.glob("images/**/*.sh"),
        *PROJECT_ROOT.glob("scripts/host/*.sh"),
        *PROJECT_ROOT.glob(".ci/*.sh"),
        PROJECT_ROOT / ".ci/run",
    ]
)
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)(?: ; [^\\]+)? \\$")


def read(name: str) -> str:
    return (PROJECT_ROOT / name).read_text()


def pinned(lock: str) -> dict[str, set[str]]:
    """Versions by name; one package may have two, for two platforms."""
    versions: dict[str, set[str]] = {}
    for line in read(lock).splitlines():
        if match := PINNED.match(line):
            versions.setdefault(match[1].lower(), set()).add(match[2])
    return versions


def requirements() -> list[str]:
    project: Any = tomllib.loads(read("pyproject.toml"))
    return [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]


def code(text: str) -> str:
    """Without comments and what follows from line to line."""
    return re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))


# Dependencies


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_index_and_no_url(lock: str) -> None:
    assert "://" not in read(lock)
    assert not re.search(r"(?m)^\s*-", re.sub(r"(?m)^    --hash=sha256:[0-9a-f]{64}( \\)?$", "", read(lock)))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_pins_each_package_with_hashes(lock: str) -> None:
    entries = re.split(r"\n(?=[^\s])", read(lock).strip())
    assert len(entries) > 10
    for entry in entries:
        first, *hashes = entry.splitlines()
        assert PINNED.match(first), first
        assert hashes, first


def test_both_lock_files_choose_the_same_versions() -> None:
    run, dev = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: dev[name] for name in dev if name in run} == {name: run[name] for name in run if name in dev}


def test_every_dependency_is_locked() -> None:
    locked = set(pinned("requirements.lock")) | set(pinned("requirements-dev.lock"))
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in requirements()}
    assert names <= locked


def test_every_dependency_has_a_comment_that_says_why() -> None:
    lines = read("pyproject.toml").splitlines()
    for requirement in requirements():
        (line,) = [line.strip() for line in lines if line.strip().startswith(f'"{requirement}",')]
        assert re.search(r'",\s+# \w', line), line


# Shell scripts


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda script: script.name)
def test_a_shell_script_can_be_run_and_stops_at_the_first_error(script: Path) -> None:
    text = script.read_text()
    # sh: on a base image of which nothing is known yet.
    first = {"#!/usr/bin/env bash": "set -euo pipefail", "#!/bin/sh": "set -eu"}
    assert code(text).splitlines()[0] == first[text.splitlines()[0]]
    assert stat.S_IMODE(script.stat().st_mode) & 0o111 == 0o111


# The image


def test_the_image_is_built_from_the_checkout_and_the_lock_file_only() -> None:
    instructions = code(read("images/Dockerfile"))
    assert not re.search(r"(?m)^ADD\b", instructions)
    assert not re.search(r"\b(curl|wget)\b|://", instructions)
    assert "pip install" not in instructions
    assert re.findall(r"(?m)^COPY .*\.loc.*", instructions) == [
        "COPY requirements-dev.lock .",
        "COPY requirements.lock .",
        "COPY ap[p]/requirements.loc[k] app/",  # a pattern, since there need be no app/
    ]
    programs = re.findall(r'\[.*"install",.*\]', read("scripts/host/install_packages.py"))
    assert len(programs) == 2
    assert all('"--require-hashes"' in program for program in programs)


@pytest.mark.parametrize("stage", ["prometheus", "valkey", "image"])
def test_the_image_runs_as_somebody_else_than_root(stage: str) -> None:
    instructions = code(read("images/Dockerfile"))
    (of_stage,) = [part for part in re.split(r"(?m)^FROM ", instructions) if part.startswith(f"base AS {stage}\n")]
    assert re.findall(r"(?m)^USER (.*)$", of_stage) == ["${USER_ID}:${USER_ID}"]
    (user_id,) = re.findall(r"(?m)^ARG USER_ID=(\d+)$", instructions)
    assert int(user_id) > 0


def test_the_build_context_leaves_out_all_that_is_not_named() -> None:
    lines = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    named = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", code(read("images/Dockerfile")))
    assert named == {source.split("/")[0].replace("[p]", "p") for sources in copied for source in sources.split()}


@pytest.mark.parametrize("private", [".secrets/", ".local/", ".venv/"])
def test_git_ignores_what_is_private(private: str) -> None:
    assert private in read(".gitignore").splitlines()


def test_git_keeps_text_and_small_pictures_only() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        if name.startswith("docs/") and name.endswith(".png"):
            assert (PROJECT_ROOT / name).stat().st_size <= MAX_BYTES, name
        else:
            assert (PROJECT_ROOT / name).read_text() is not None, name


# What others find


def test_the_package_has_a_licence_and_types() -> None:
    project: Any = tomllib.loads(read("pyproject.toml"))
    assert [project["project"]["license"], project["project"]["license-files"]] == ["Apache-2.0", ["LICENSE"]]
    assert "Apache License" in read("LICENSE")
    assert project["tool"]["setuptools"]["package-data"] == {"seedcore": ["py.typed", "api/page/*"]}
    assert read("seedcore/py.typed") == ""


def test_the_workflow_runs_what_ci_runs_everywhere() -> None:
    assert "- run: sudo --preserve-env=PATH .ci/run\n" in read(".github/workflows/ci.yml")


# Alerts


def test_every_alert_has_a_test_of_when_it_fires() -> None:
    alerts = re.findall(r"(?m)^ +- alert: (\w+)", read("images/prometheus/rules.yml"))
    assert len(alerts) == len(set(alerts)) > 5
    tests = read("images/prometheus/rules_test.yml")
    assert set(re.findall(r"(?m)^ +- alertname: (\w+)\n.*\n +exp_alerts:", tests)) == set(alerts)


# The services and the verbs


def test_both_runtimes_have_the_same_services_but_for_prometheus() -> None:
    services = read("compose.yaml").partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    assert tuple(re.findall(r"(?m)^  ([a-z-]+):$", services)) == (*SERVICES, PROMETHEUS, VALKEY)
    assert tuple(re.findall(r"(?m)^\[program:(.+)\]$", read("supervisord.conf"))) == (VALKEY, *SERVICES)


def test_both_runtimes_run_the_same_roles_of_the_entrypoint() -> None:
    in_compose = re.findall(r"(?m)^    command: \[(\w+)\]$", read("compose.yaml"))
    in_supervisor = re.findall(r"(?m)^command = .*entrypoint\.sh (\w+)$", read("supervisord.conf"))
    assert in_compose == in_supervisor
    (usage,) = re.findall(r"usage: entrypoint\.sh ([\w|]+)", read("images/entrypoint.sh"))
    assert set(usage.split("|")) == set(in_compose)


def test_make_has_every_verb_and_explains_it() -> None:
    explained = set(re.findall(r"(?m)^([a-z-]+):.* ## \S", read("Makefile")))
    assert set(VERBS) <= explained
    assert explained == set(re.findall(r"(?m)^\.PHONY: (.*)$", read("Makefile"))[0].split()) | {"help"}


def test_the_reference_tells_of_every_verb_and_of_no_other() -> None:
    table = read("docs/reference.md").partition("\n## Verbs\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`make ([a-z-]+)", table))
    explained = set(re.findall(r"(?m)^([a-z-]+):.* ## \S", read("Makefile")))
    assert told == explained - {"help"}


@pytest.mark.parametrize("document", ["README.md", "docs/reference.md", "docs/start.md"])
def test_every_command_of_the_documentation_is_a_verb_or_a_program_and_runs_in_ci(document: str) -> None:
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", read(document))
    assert document in read(".ci/readme_commands.sh") or document in read("tests/template/test_start.py")
    commands = [line for block in blocks for line in block.splitlines() if line]
    assert commands
    explained = set(re.findall(r"(?m)^([a-z-]+):.* ## \S", read("Makefile")))
    for command in commands:
        program, argument = command.split()[:2]
        assert program in ("make", "docker", "curl", "rm"), command
        assert program != "make" or argument in explained, command
