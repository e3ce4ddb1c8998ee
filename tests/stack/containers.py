"""The containers of a project's stack, and what runs in them."""

import shlex
from typing import Final

import docker
from docker.models.containers import Container

from tests.stack.project import Project

LONG_RUNNING: Final = ("ray-head", "ray-worker", "seedcore-api")
KILL_FOR_GOOD: Final = """
import ray
from seedcore.cluster.connection import connect
from seedcore.settings import load_settings
connect()
ray.kill(ray.get_actor({name!r}, namespace=load_settings().ray_namespace))
"""


def containers(engine: docker.DockerClient, project: Project, service: str) -> list[Container]:
    """All containers of a service, also those that have ended."""
    labels = [f"com.docker.compose.project={project.name}", f"com.docker.compose.service={service}"]
    found: list[Container] = engine.containers.list(all=True, ignore_removed=True, filters={"label": labels})
    return found


def only(engine: docker.DockerClient, project: Project, service: str) -> Container:
    """The one container of a service."""
    (container,) = containers(engine, project, service)
    return container


def health(container: Container) -> str:
    """What its check says, such as healthy."""
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


def run_in(container: Container, *command: str) -> str:
    """The output of a command in a container; it must succeed."""
    code, output = container.exec_run(list(command))
    assert code == 0, f"{shlex.join(command)} in {container.name}: {output.decode()}"
    return str(output.decode())


def kill_for_good(api: Container, name: str) -> None:
    """`ray.kill` of a singleton, after which Ray does not restart it.

    Args:
        api: the API's container.
        name: of the singleton.
    """
    run_in(api, "python", "-c", KILL_FOR_GOOD.format(name=name))
