"""Where Python packages come from on this machine: what pip and uv were told of it, in the words of either.

People have told pip, in variables and files of which uv knows nothing. Whatever else they told pip or uv (where to
install to, what to leave out) was meant for other environments than ours. Of the standard library alone, since this
runs before anything is installed, here and in the image build.
"""

import ast
import os
import re
import ssl
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit


class PipConfigurationError(Exception):
    """Raised when pip cannot read what it was told; the message has its words."""


class Option(NamedTuple):
    """How uv is told what an option of pip tells pip.

    Args:
        variables: those of uv that say the same; it is told with the first.
        separator: what uv has between two values; pip has white space. None: it is one value.
        is_place: whether it is a URL or a folder.
        is_for_builds: whether it means the same in an image build.
    """

    variables: tuple[str, ...]
    separator: str | None = None
    is_place: bool = False
    is_for_builds: bool = False

    def split(self, value: str, separator: str | None = None) -> list[str]:
        """Its values; without a separator as pip writes them."""
        return [value.strip()] if self.separator is None else [one.strip() for one in value.split(separator)]


OPTIONS: Final = {
    "index-url": Option(("UV_DEFAULT_INDEX", "UV_INDEX_URL"), " ", is_place=True, is_for_builds=True),
    "extra-index-url": Option(("UV_INDEX", "UV_EXTRA_INDEX_URL"), " ", is_place=True, is_for_builds=True),
    "find-links": Option(("UV_FIND_LINKS",), ",", is_place=True, is_for_builds=True),
    "no-index": Option(("UV_NO_INDEX",)),
    "trusted-host": Option(("UV_INSECURE_HOST",), " ", is_for_builds=True),
    "proxy": Option(("HTTPS_PROXY",), is_for_builds=True),
    "cert": Option(("SSL_CERT_FILE",)),
    "client-cert": Option(("SSL_CLIENT_CERT",)),
}
SECTIONS: Final = ("global", "install", ":env:")  # of pip's configuration; each wins over those before it
AUTHORITIES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")  # in the order in which they count
OF_UV_ITSELF: Final = ("UV_CACHE_DIR", "UV_LINK_MODE", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_KEYRING_PROVIDER")
SETTINGS: Final = ("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "CONDA_")  # how variables begin that steer pip, uv, Python
OF_OUR_PIP: Final = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}
BUILD_SECRET: Final = Path("/run/secrets/pip_conf")  # where an image build has what `for_build` returned
NAME_OF_INDEX: Final = re.compile(r"^[\w.-]+=")  # uv may give one to a URL
LOOPBACK: Final = re.compile(r"localhost|127(\.\d+){3}|::1")
PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")

# What to do about a download that failed, by the words of uv, pip and apt. The first pattern that is found wins.
REMEDIES: Final = (
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate|UnknownIssuer",
        "your network has a certificate authority of its own. Set EXTRA_CA_CERTS in .env to its PEM file, for the "
        "image, and PIP_CERT in your shell to a file with all that you trust, for .venv",
    ),
    (r"[Nn]o space left on device", "free disk space (`docker system df` shows what Docker holds)"),
    (
        r"[Hh]ash mismatch|DO NOT MATCH THE HASHES",
        "the package index serves another file than the one that was locked: take another index",
    ),
    (
        r"\b40[13]\b",
        "the package index wants to know who you are: https://USER:PASSWORD@HOST/... in PIP_INDEX_URL",
    ),
    (
        r"dns error|[Nn]ame or service not known|[Nn]ame resolution|[Tt]emporary failure|[Cc]onnection refused"
        r"|Connection reset|[Nn]etwork is unreachable|timed out|[Tt]unnel|[Pp]roxy|[Cc]ould not connect",
        "is there a network? Behind a proxy set HTTPS_PROXY, for a mirror PIP_INDEX_URL or pip.conf; the image build "
        "gets both",
    ),
)


def remedy_for(output: str, remedies: Iterable[tuple[str, str]] = REMEDIES) -> str | None:
    """What to do about a download that failed, in one line; None if its output does not say why it did.

    Args:
        output: of the program that failed.
        remedies: by what is found in it, the first one wins.
    """
    return next((remedy for pattern, remedy in remedies if re.search(pattern, output)), None)


def read_options(pip: Sequence[str]) -> dict[str, str]:
    """What pip and uv were told of where packages come from, as options of pip.

    Args:
        pip: how it is started.

    Raises:
        PipConfigurationError: pip cannot read its files.
    """
    told = {name: os.environ.get(name, "") for name in ("PIP_CONFIG_FILE", *map(_variable, OPTIONS))}
    if BUILD_SECRET.is_file() and BUILD_SECRET.stat().st_size:
        told["PIP_CONFIG_FILE"] = str(BUILD_SECRET)
    done = subprocess.run(
        [*pip, "config", "list"],
        env=_without_settings() | {name: value for name, value in told.items() if value},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PipConfigurationError(
            f"pip cannot read its settings (`pip config debug` lists them): {done.stderr.strip()}"
        )
    return merge(done.stdout, os.environ)


def merge(config_list: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The options in the output of `pip config list`, and over them those of uv's variables."""
    lines = [line.partition("=") for line in config_list.splitlines()]
    listed = {name: str(ast.literal_eval(value)) for name, _, value in lines}
    found: dict[str, str] = {}
    for section in SECTIONS:
        found |= {option: listed[f"{section}.{option}"] for option in OPTIONS if f"{section}.{option}" in listed}
    for option, how in OPTIONS.items():
        for variable in how.variables:
            if variable.startswith("UV_") and environment.get(variable):
                places = how.split(environment[variable], how.separator)
                found[option] = " ".join(NAME_OF_INDEX.sub("", place) for place in places)
                break
    authorities = [environment[name] for name in AUTHORITIES if environment.get(name)]
    return {
        **({"cert": authorities[0]} if authorities else {}),
        **{name: value for name, value in found.items() if value},
    }


def environment_for_pip(options: Mapping[str, str]) -> dict[str, str]:
    """One in which pip downloads from there, and knows nothing else of this machine's settings."""
    told = {_variable(option): value for option, value in options.items()}
    return {**_without_settings(), **OF_OUR_PIP, **told}


def environment_for_uv(options: Mapping[str, str]) -> dict[str, str]:
    """One in which uv does."""
    environment = {
        **_without_settings(),
        "UV_NO_CONFIG": "1",
        "UV_HTTP_TIMEOUT": "120",  # seconds without a byte; its own 30 are few for a mirror that fetches first
        # All indexes are equal, as for pip. Whatever one serves, it has the hash that was locked.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        **{name: os.environ[name] for name in OF_UV_ITSELF if os.environ.get(name)},
    }
    for option, value in options.items():
        how = OPTIONS[option]
        # A folder that is not there is no error of pip's.
        values = [one for one in how.split(value) if not how.is_place or _is_remote(one) or _folder(one).is_dir()]
        if values:
            environment[how.variables[0]] = (how.separator or "").join(values)
    if "proxy" in options:
        environment["HTTP_PROXY"] = options["proxy"]
    if "cert" not in options and Path(ssl.get_default_verify_paths().cafile or os.devnull).is_file():
        environment["UV_SYSTEM_CERTS"] = "1"  # those of the machine, as of pip 24.2
    if not _is_writable(Path(os.environ.get("UV_CACHE_DIR") or _cache_home() / "uv")):
        environment["UV_NO_CACHE"] = "1"  # a home that cannot be written is no error of pip's
    return environment


def environment_for_stack() -> dict[str, str]:
    """That of the shell, but of what it tells pip and uv only where packages come from: a `runtime_env` of Ray's
    installs into environments of its own, whatever else people have pip do.
    """
    told = {"PIP_CONFIG_FILE", *map(_variable, OPTIONS), *OF_UV_ITSELF}
    told.update(variable for option in OPTIONS.values() for variable in option.variables)
    return {name: value for name, value in os.environ.items() if name in told or not name.startswith(("PIP_", "UV_"))}


def for_build(options: Mapping[str, str]) -> str:
    """A file for pip with the options that mean the same in an image build; empty without any."""
    lines = []
    for option, value in options.items():
        how = OPTIONS[option]
        values = [one for one in how.split(value) if not how.is_place or _is_remote(one)]
        if how.is_for_builds and values:
            lines.append(f"{option} = {' '.join(values)}\n")
    return "".join(["[global]\n", *lines]) if lines else ""


def is_on_loopback(options: Mapping[str, str], environment: Mapping[str, str]) -> bool:
    """Whether packages come through a proxy or from an index that only this machine itself can reach."""
    urls = [value for name, value in environment.items() if name.lower() in PROXIES and value]
    for option, value in options.items():
        if OPTIONS[option].is_for_builds and option != "trusted-host":
            urls += OPTIONS[option].split(value)
    hosts = (urlsplit(url if "://" in url else f"//{url}").hostname for url in urls)
    return any(LOOPBACK.fullmatch(host or "") for host in hosts)


def _variable(option: str) -> str:
    return f"PIP_{option.upper().replace('-', '_')}"


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if value and not name.startswith(SETTINGS)}


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _is_remote(place: str) -> bool:
    return "://" in place and not place.startswith("file:")


def _folder(place: str) -> Path:
    return Path(place.removeprefix("file://"))
