"""The hook at the start of the interpreter, in interpreters of its own; with real Ray, and with one that differs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seedcore.ray_environment import STARTUP

IN_EACH_WAY = """
from ray.job_config import JobConfig
print(JobConfig().ray_namespace, JobConfig.from_json({}).ray_namespace, JobConfig(ray_namespace="named").ray_namespace)
"""


def python(program: str, *path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_NAMESPACE"}
    environment["PYTHONPATH"] = ":".join(map(str, (STARTUP, *path)))
    return subprocess.run(
        [sys.executable, "-c", program], env={**environment, **variables}, capture_output=True, text=True, check=True
    )


def test_who_names_no_namespace_is_in_that_of_the_environment() -> None:
    assert python(IN_EACH_WAY, RAY_NAMESPACE="mine").stdout.split() == ["mine", "mine", "named"]


@pytest.mark.parametrize("variables", [{}, {"RAY_NAMESPACE": ""}], ids=["not set", "empty"])
def test_without_the_variable_ray_is_as_it_is(variables: dict[str, str]) -> None:
    assert python(IN_EACH_WAY, **variables).stdout.split() == ["None", "None", "named"]


def test_an_interpreter_that_does_not_use_ray_does_not_import_it() -> None:
    program = "import sys; print('sitecustomize' in sys.modules, {'ray', 'typing', 'inspect'} & set(sys.modules))"
    assert python(program, RAY_NAMESPACE="mine").stdout == "True set()\n"


@pytest.mark.parametrize(
    "config",
    ["", "class JobConfig:\n    pass\n", "class JobConfig:\n    def __init__(self, space=None): pass\n"],
    ids=["no class", "no parameters", "another parameter"],
)
def test_another_ray_is_named(tmp_path: Path, config: str) -> None:
    package = tmp_path / "ray"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "job_config.py").write_text(config)
    told = python("import ray.job_config", tmp_path, RAY_NAMESPACE="mine").stderr
    assert "pass namespace='mine' to ray.init" in told
    assert "Traceback" not in told


def test_the_error_of_a_full_disk_names_the_knob() -> None:
    program = "from ray.exceptions import OutOfDiskError; print(OutOfDiskError('in the way'))"
    told = python(program, RAY_NAMESPACE="mine").stdout
    assert told.startswith("in the way\n")
    assert "RAY_TEMP_DIR" in told


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("ray._private.function_manager", "logs have the class of an actor"),
        ("ray._private.utils", "logs do not have what tasks and actors raise"),
        ("ray.exceptions", "the error of a full disk names no knob"),
    ],
)
def test_whatever_else_is_another_in_another_ray_is_named_too(tmp_path: Path, module: str, said: str) -> None:
    file = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    file.touch()
    for folder in file.relative_to(tmp_path).parents[:-1]:
        (tmp_path / folder / "__init__.py").touch()
    told = python(f"import {module}", tmp_path, RAY_NAMESPACE="mine").stderr
    assert f"another {module} than Ray 2.60" in told
    assert said in told
    assert "Traceback" not in told


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.parametrize(("value", "is_allowed"), [("1", True), ("True", True), ("0", False), ("", False)])
def test_others_may_look_into_the_process_if_the_knob_says_so(tmp_path: Path, value: str, is_allowed: bool) -> None:
    log = tmp_path / "calls"
    subprocess.run(
        ["strace", "--trace=prctl", f"--output={log}", sys.executable, "-c", ""],
        env={**os.environ, "PYTHONPATH": str(STARTUP), "PROFILING": value},
        check=True,
    )
    assert ("PR_SET_PTRACER, PR_SET_PTRACER_ANY" in log.read_text()) is is_allowed
