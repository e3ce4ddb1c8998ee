"""What pip and uv were told of where packages come from, in the words of each."""

import os
import sys
from pathlib import Path

import pytest

from scripts.host.package_index import (
    OPTIONS,
    PipConfigurationError,
    environment_for_pip,
    environment_for_stack,
    environment_for_uv,
    for_build,
    is_on_loopback,
    merge,
    read_options,
    remedy_for,
)

PIP = [sys.executable, "-I", "-m", "pip"]
MIRROR = "https://me:secret@mirror.invalid/simple"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of somebody who told pip, uv and Python nothing, on a machine that did."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_", "SSL_")) or name.endswith("_CA_BUNDLE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "of the machine"))
    return tmp_path


@pytest.mark.parametrize(
    ("told", "uv"),
    [
        ({"PIP_INDEX_URL": MIRROR}, {"UV_DEFAULT_INDEX": MIRROR}),
        (
            {"PIP_EXTRA_INDEX_URL": "https://a.invalid  https://b.invalid"},
            {"UV_INDEX": "https://a.invalid https://b.invalid"},
        ),
        ({"PIP_FIND_LINKS": "https://a.invalid /no/such/folder"}, {"UV_FIND_LINKS": "https://a.invalid"}),
        ({"PIP_FIND_LINKS": "/ /usr"}, {"UV_FIND_LINKS": "/,/usr"}),
        ({"PIP_TRUSTED_HOST": "a.invalid"}, {"UV_INSECURE_HOST": "a.invalid"}),
        ({"PIP_CERT": "/my certs/ca.pem"}, {"SSL_CERT_FILE": "/my certs/ca.pem"}),
        ({"PIP_PROXY": "http://proxy.invalid:3128"}, {"HTTPS_PROXY": "http://proxy.invalid:3128"}),
        ({"UV_INDEX_URL": MIRROR, "PIP_INDEX_URL": "https://pip.invalid"}, {"UV_DEFAULT_INDEX": MIRROR}),
        ({"UV_INDEX": f"company={MIRROR}"}, {"UV_INDEX": MIRROR}),
        ({"UV_HTTP_TIMEOUT": "300"}, {"UV_HTTP_TIMEOUT": "300"}),
    ],
)
def test_uv_learns_what_pip_was_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], uv: dict[str, str]
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    environment = environment_for_uv(read_options(PIP))
    assert {name: environment.get(name) for name in uv} == uv


def test_files_of_pip_count_and_variables_win_over_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "pip").mkdir()
    (home / "pip/pip.conf").write_text(
        f"[global]\nindex-url = https://file.invalid\nextra-index-url =\n    {MIRROR}\n    https://b.invalid\n"
        "[install]\nindex-url = https://install.invalid\nuser = true\n"
    )
    assert read_options(PIP)["index-url"] == "https://install.invalid"
    assert environment_for_uv(read_options(PIP))["UV_INDEX"] == f"{MIRROR} https://b.invalid"
    assert "user" not in read_options(PIP)
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.invalid")
    assert read_options(PIP)["index-url"] == "https://variable.invalid"


@pytest.mark.parametrize("listed", ["", "global.timeout='15'\ninstall.user='true'\n"])
def test_authorities_are_those_of_requests_unless_pip_has_its_own(listed: str) -> None:
    variables = {"SSL_CERT_FILE": "/ssl.pem", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": "/requests.pem"}
    assert merge(listed, variables) == {"cert": "/requests.pem"}
    assert merge(listed, {**variables, "REQUESTS_CA_BUNDLE": ""}) == {"cert": "/ssl.pem"}
    assert merge(f"{listed}global.cert='/pip.pem'\n", variables) == {"cert": "/pip.pem"}


def test_a_file_that_pip_cannot_read_is_named(home: Path) -> None:
    (home / "pip").mkdir()
    (home / "pip/pip.conf").write_text("index-url = https://file.invalid\n")
    with pytest.raises(PipConfigurationError, match=r"(?s)pip cannot read its settings.*/pip/pip\.conf"):
        read_options(PIP)


FOREIGN = (
    *("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT", "PIP_DRY_RUN", "PIP_PYTHON"),
    *("UV_OFFLINE", "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_EXCLUDE_NEWER", "UV_CONFIG_FILE"),
    *("PYTHONHOME", "PYTHONPATH", "PYTHONOPTIMIZE", "VIRTUAL_ENV", "CONDA_PREFIX"),
)


def test_what_was_meant_for_other_environments_reaches_neither(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOREIGN:
        monkeypatch.setenv(name, "foreign")
    told = read_options(PIP)
    assert "foreign" not in environment_for_pip(told).values()
    assert "foreign" not in environment_for_uv(told).values()


def test_nor_the_stack_whose_runtime_env_has_environments_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"PIP_INDEX_URL": "https://mirror/simple", "UV_INDEX": "https://own/simple", "PIP_CONFIG_FILE": "/pip"}
    left_out = {"PIP_USER": "1", "PIP_TARGET": "/elsewhere", "UV_SYSTEM_PYTHON": "1"}
    for name, value in (kept | left_out | {"PIPELINE": "mine"}).items():
        monkeypatch.setenv(name, value)
    environment = environment_for_stack()
    assert environment.items() >= (kept | {"PIPELINE": "mine"}).items()
    assert not environment.keys() & left_out.keys()


def test_uv_needs_no_home_that_can_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "UV_NO_CACHE" not in environment_for_uv({})
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    assert environment_for_uv({})["UV_NO_CACHE"] == "1"


def test_a_build_is_told_what_it_can_reach(home: Path) -> None:
    told = {
        "index-url": MIRROR,
        "extra-index-url": "file:///opt/simple https://b.invalid",
        "find-links": "/opt/wheels",
        "cert": "/ca.pem",
        "client-cert": "/me.pem",
        "trusted-host": "a b",
    }
    assert set(told) <= set(OPTIONS)
    assert for_build(told) == (
        f"[global]\nindex-url = {MIRROR}\nextra-index-url = https://b.invalid\ntrusted-host = a b\n"
    )
    assert for_build({"cert": "/ca.pem", "find-links": "/opt/wheels"}) == ""


@pytest.mark.parametrize(
    ("told", "environment", "on_loopback"),
    [
        ({}, {"HTTPS_PROXY": "http://127.0.0.1:3128"}, True),
        ({}, {"http_proxy": "localhost:3128"}, True),
        ({}, {"https_proxy": "http://[::1]:3128"}, True),
        ({"index-url": "http://me:secret@127.0.0.2:3141/root"}, {}, True),
        ({"extra-index-url": "https://a.invalid http://localhost/simple"}, {}, True),
        (
            {"index-url": MIRROR, "trusted-host": "localhost", "cert": "/127.0.0.1"},
            {"HTTPS_PROXY": "http://10.0.0.1"},
            False,
        ),
        ({}, {"HTTPS_PROXY": "", "NO_PROXY": "127.0.0.1"}, False),
    ],
)
def test_a_build_needs_the_hosts_network_where_only_it_reaches_the_index(
    told: dict[str, str], environment: dict[str, str], on_loopback: bool
) -> None:
    assert is_on_loopback(told, environment) is on_loopback


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("error: Request failed\n  cause: invalid peer certificate: UnknownIssuer", "EXTRA_CA_CERTS"),
        (
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
            "EXTRA_CA_CERTS",
        ),
        ("  cause: dns error\n  cause: failed to lookup address information: Name or service not known", "HTTPS_PROXY"),
        ("HTTP status client error (401 Unauthorized) for url (https://a.invalid)", "USER:PASSWORD"),
        ("  cause: tunnel error: unsuccessful\n", "HTTPS_PROXY"),
        ("error: Failed to extract archive\n  cause: No space left on device (os error 28)", "free disk space"),
        ("error: No solution found when resolving dependencies", None),
    ],
)
def test_the_remedy_is_that_of_what_failed(output: str, remedy: str | None) -> None:
    found = remedy_for(output)
    assert (found is None) is (remedy is None)
    assert (remedy or "") in (found or "")
