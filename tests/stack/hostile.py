"""Variables that a shell has for other programs; every verb that a test runs meets them."""

from typing import Final

FOREIGN: Final = "meant-for-another-program"
NOWHERE: Final = "http://127.0.0.1:9"  # nobody listens there

HOSTILE: Final = {
    # Ray: the job CLI's, another cluster's
    "RAY_ADDRESS": "http://127.0.0.1:8265",
    "RAY_API_SERVER_ADDRESS": NOWHERE,
    "RAY_AUTH_MODE": "disabled",
    "RAY_AUTH_TOKEN": FOREIGN,
    "RAY_AUTH_TOKEN_PATH": "/nonexistent/token",
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_JOB_HEADERS": FOREIGN,
    "RAY_NAMESPACE": FOREIGN,
    "RAY_TMPDIR": "/nonexistent",
    "RAY_TLS_SERVER_CERT": FOREIGN,
    "RAY_USE_TLS": "1",
    "RAY_gcs_server_port": "1",
    # Docker and Compose, but for the engine to use
    "BUILDKIT_PROGRESS": "rawjson",
    "BUILDX_BUILDER": FOREIGN,
    "COMPOSE_ANSI": "always",
    "COMPOSE_DISABLE_ENV_FILE": "1",
    "COMPOSE_ENV_FILES": "/nonexistent/.env",
    "COMPOSE_FILE": "/nonexistent/compose.yaml",
    "COMPOSE_PATH_SEPARATOR": ";",
    "COMPOSE_PROGRESS": "json",
    "COMPOSE_REMOVE_ORPHANS": "1",
    "COMPOSE_STATUS_STDOUT": "1",
    "DOCKER_API_VERSION": "1.12",
    "DOCKER_BUILDKIT": "0",
    "DOCKER_CONTENT_TRUST": "1",
    "DOCKER_DEFAULT_PLATFORM": "linux/s390x",
    # pip and uv
    "PIP_PREFIX": "/nonexistent",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_TARGET": "/nonexistent",
    "PIP_USER": "1",
    "UV_PROJECT_ENVIRONMENT": "/nonexistent",
    "UV_SYSTEM_PYTHON": "1",
    # Python
    "PYTHONDEVMODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONHOME": "/nonexistent",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "/nonexistent",
    "PYTHONSAFEPATH": "1",
    "PYTHONSTARTUP": "/nonexistent.py",
    "PYTHONWARNINGS": "error",
    "VIRTUAL_ENV": "/nonexistent",
    # git, as in a hook
    "GIT_DIR": "/nonexistent",
    "GIT_INDEX_FILE": "/nonexistent",
    "GIT_WORK_TREE": "/nonexistent",
    # proxies of the calls that the stack makes within itself
    "HTTP_PROXY": NOWHERE,
    "http_proxy": NOWHERE,
    # locale: of another alphabet, and of ASCII
    "LANG": "tr_TR.ISO-8859-9",
    "LC_ALL": "POSIX",
    # the shell, and arguments of make
    "BASH_ENV": "/nonexistent",
    "CDPATH": "/usr:/etc",
    "ARGS": "--unknown",
    "FILE": "/nonexistent",
    "S": FOREIGN,
    "YES": "1",
}
