"""Ray's libraries as dependencies of the application, as docs/ray.md says, in both runtimes."""

import shutil
from pathlib import Path

import docker
import httpx
import pytest

from scripts.host.ports import free_port
from tests.slow import ray_libraries
from tests.stack.project import Project

LIBRARIES = (ray_libraries.data, ray_libraries.tune, ray_libraries.train, ray_libraries.serve)


@pytest.mark.timeout(1800)  # packages are downloaded, an environment and an image built
@pytest.mark.parametrize("runtime", ["docker", "local"])
def test_data_tune_train_and_serve_run(request: pytest.FixtureRequest, runtime: str, tmp_path: Path) -> None:
    port, image = free_port(), "seedcore-test-libraries:dev"
    serve = "http://ray-head:8000" if runtime == "docker" else f"http://127.0.0.1:{port}"
    project = Project(tmp_path / "seedcore", runtime, SEEDCORE_IMAGE=image, SERVE_PORT=str(port))
    project.given["COMPOSE_FILE"] = "compose.yaml:images/serve.yaml"
    try:
        (project.folder / ".venv").unlink()  # the tests' own, which must not get them
        (project.folder / "app/requirements.txt").write_text("ray[data,serve,train,tune]\n")
        (project.folder / "app/jobs").mkdir(exist_ok=True)
        shutil.copy(Path(__file__).parent / "ray_libraries.py", project.folder / "app/jobs")
        project.make("lock")
        project.make("up")
        told = project.make("run", "M=app.jobs.ray_libraries", f"ARGS={serve}")
        for library in LIBRARIES:
            assert f"{library.__name__}: ok\n" in told, told
        assert httpx.get(f"http://127.0.0.1:{port}/hello", params={"name": "browser"}).text == "hello browser"
        applications = httpx.get(
            f"http://127.0.0.1:{project.dashboard_port}/api/serve/applications/",
            headers={"Authorization": f"Bearer {project.token}"},
        )
        assert applications.json()["applications"]["hello"]["status"] == "RUNNING"
    finally:
        project.remove()
        if runtime == "docker":
            engine: docker.DockerClient = request.getfixturevalue("engine")
            engine.images.remove(image, force=True)
