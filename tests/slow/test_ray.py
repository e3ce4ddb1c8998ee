"""What docs/ray.md says that Ray does here, in both runtimes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from seedcore.settings import PROJECT_ROOT
from tests.slow import ray_examples
from tests.stack.project import MAKE_TIMEOUT_S, Project

pytestmark = pytest.mark.timeout(900)  # a fixture does all the work

BETWEEN = "=== "
# What is typed, and what is in the answer. ACTOR, NODE and IP stand for those of the actor `mw`.
COMMANDS = {
    "ray status": r"\d+\.\d+/1000\.0 state",
    "ray list actors": r"mw .*seedcore-dev",
    "ray list nodes": r"ALIVE",
    "ray list tasks": r"MwStore.__init__",
    "ray list jobs": r"SUCCEEDED",
    "ray list workers": r"WORKER_ID",
    "ray list objects": r"No resource in the cluster|OBJECT_ID",
    "ray list placement-groups": r"No resource in the cluster|PLACEMENT_GROUP_ID",
    "ray list runtime-envs": r"No resource in the cluster|RUNTIME_ENV",
    "ray list cluster-events": r"Started a ray job",
    "ray get actors ACTOR": r"name: mw",
    "ray summary actors": r"MwStore +ALIVE: 1",
    "ray summary tasks": r"MwStore.__init__ +FINISHED: 1",
    "ray summary objects": r"total_objects",
    "ray memory": r"Aggregate object store stats",
    "ray timeline": r"Trace file written to",
    "ray logs actor --id ACTOR": r"MwStore",
    "ray logs cluster --node-ip IP": r"raylet\.out",
    "ray job list": r"of_this_test",
    "ray job status of_this_test": r"succeeded",
    "ray job logs of_this_test": r"in the job: \['job.py'\] 42",
    "ray job submit --no-wait --submission-id sleeper -- sleep 100": r"submitted successfully",
    "ray job stop sleeper": r"was stopped",
}
JOB = """
import os, ray
ray.init()
answer = ray.remote(lambda: 42).options(runtime_env={"env_vars": {"of_this_test": "1"}}).remote()
print("in the job:", os.listdir(), ray.get(answer))
"""
BEFORE = f"""
export COLUMNS=300 NO_COLOR=1
first() {{ python3 -c "import json,sys; print(json.load(sys.stdin)[0]['$1'])"; }}
ACTOR=$(ray list actors --filter name=mw --format json | first actor_id)
NODE=$(ray list actors --filter name=mw --format json | first node_id)
IP=$(ray list nodes --filter node_id=$NODE --format json | first node_ip)
mkdir -p /tmp/of_this_test
cat > /tmp/of_this_test/job.py <<'EOF'
{JOB}
EOF
ray job submit --submission-id of_this_test --working-dir /tmp/of_this_test -- python3 job.py
"""


@pytest.fixture(scope="module")
def answers(project: Project) -> dict[str, tuple[int, str]]:
    """Exit code and output of each command, typed into one shell."""
    lines = [BEFORE]
    for number, command in enumerate(COMMANDS):
        typed = re.sub(r"\b(ACTOR|NODE|IP)\b", r"$\1", command)
        lines.append(f"echo '{BETWEEN}{number}'; {typed} 2>&1; code=$?; echo; echo \"{BETWEEN}code $code\"")
    shell = subprocess.run(
        ["make", "shell"],
        cwd=project.folder,
        env=project.environment,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=MAKE_TIMEOUT_S,
        check=False,
    )
    found = re.findall(rf"^{BETWEEN}(\d+)\n(.*?)\n{BETWEEN}code (\d+)$", shell.stdout, re.MULTILINE | re.DOTALL)
    assert len(found) == len(COMMANDS), shell.stdout + shell.stderr
    return {command: (int(code), output) for command, (_, output, code) in zip(COMMANDS, found, strict=True)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_ray_works(answers: dict[str, tuple[int, str]], command: str) -> None:
    code, output = answers[command]
    assert code == 0, output
    assert re.search(COMMANDS[command], output), output


@pytest.fixture(scope="module")
def examples(project: Project) -> str:
    (project.folder / "app/jobs").mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parent / "ray_examples.py", project.folder / "app/jobs")
    return project.make("run", "M=app.jobs.ray_examples")


@pytest.mark.parametrize("name", [example.__name__ for example in ray_examples.EXAMPLES])
def test_what_people_write_runs_as_on_bare_ray(examples: str, name: str) -> None:
    assert f"{name}: ok\n" in examples, examples


FILLS_THE_DISK = """
import numpy as np
import ray

ray.init()


@ray.remote(max_retries=0)
def fill():
    return len([ray.put(np.ones(30_000_000, dtype=np.uint8)) for _ in range(20)])


print(ray.get(fill.remote()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_names_the_knob_and_the_singletons_go_on(docker_project: Project, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,uid=1000,gid=1000", "small", disk], check=True)
    try:
        docker_project.environment |= {
            "RAY_TEMP_DIR": str(disk),
            "OBJECT_STORE_BYTES": str(100 * 2**20),
            "SHM_SIZE": "200m",
        }
        docker_project.make("up")
        (docker_project.folder / "app/jobs").mkdir()
        (docker_project.folder / "app/jobs/fills.py").write_text(FILLS_THE_DISK)
        done = docker_project.run("make", "run", "M=app.jobs.fills")
        assert done.returncode
        assert "OutOfDiskError" in done.stdout
        assert "it is the disk of RAY_TEMP_DIR" in done.stdout
        docker_project.make("verify")
    finally:
        docker_project.run("make", "down")
        subprocess.run(["umount", disk], check=True)


def test_the_table_lists_what_is_tested() -> None:
    table = (PROJECT_ROOT / "docs/ray.md").read_text().partition("## Environments")[0]
    typed = re.findall(r"`(ray (?:[a-z][a-z-]* ?){1,2})", table)
    assert {words.strip() for words in typed if words.strip() not in " ".join(COMMANDS)} == {
        "ray debug",
        "ray drain-node",
        "ray logs task",
        "ray stack",
        "ray stop",
    }
