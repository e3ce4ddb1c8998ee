from pathlib import Path

import pytest

from scripts.host import ca_certificates
from scripts.host.ca_certificates import copy_extra_ca_certificates
from scripts.host.runtime import StackError
from seedcore.settings import PROJECT_ROOT

COMPANY = b"-----BEGIN CERTIFICATE-----\nY29tcGFueQ==\n-----END CERTIFICATE-----\n"
MACHINE = COMPANY.replace(b"Y29tcGFueQ==", b"bWFjaGluZQ==")


@pytest.fixture
def destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the image build would find them: not in this checkout, whose own file a running build may be reading."""
    path = tmp_path / "ca-certificates" / "machine.crt"
    path.parent.mkdir()
    monkeypatch.setattr(ca_certificates, "DESTINATION", path)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    return path


@pytest.fixture
def company(tmp_path: Path) -> Path:
    path = tmp_path / "company.pem"
    path.write_bytes(COMPANY)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine.pem"
    path.write_bytes(MACHINE)
    return path


def test_without_extra_authorities_nothing_is_copied(destination: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_extra_ca_certificates("")
    assert not destination.exists()
    assert capsys.readouterr().out == ""


def test_the_knobs_file_is_copied_and_said(
    destination: Path, company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_extra_ca_certificates(str(company))
    assert destination.read_bytes() == COMPANY
    assert str(company) in capsys.readouterr().out


def test_the_machines_file_is_copied_and_the_knobs_wins_over_it(
    destination: Path, company: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(machine))
    copy_extra_ca_certificates("")
    assert destination.read_bytes() == MACHINE
    copy_extra_ca_certificates(str(company))
    assert destination.read_bytes() == COMPANY


def test_the_same_again_writes_and_says_nothing(
    destination: Path, company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_extra_ca_certificates(str(company))
    written = destination.stat()
    capsys.readouterr()
    copy_extra_ca_certificates(str(company))
    assert (destination.stat().st_mtime_ns, destination.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
    assert capsys.readouterr().out == ""


def test_the_users_home_is_understood(destination: Path, company: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(company.parent))
    copy_extra_ca_certificates(f"~/{company.name}")
    assert destination.read_bytes() == COMPANY


@pytest.mark.parametrize("source", ["/no/such/file.pem", "/", "~nobody-of-this-name/ca.pem"])
@pytest.mark.parametrize("name", ["EXTRA_CA_CERTS", "SSL_CERT_FILE"])
def test_a_file_that_cannot_be_read_is_named_and_what_was_there_stays(
    destination: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str
) -> None:
    destination.write_bytes(COMPANY)
    monkeypatch.setenv("SSL_CERT_FILE", source)
    with pytest.raises(StackError, match=rf"cannot read {name}={source}.*Correct or unset it"):
        copy_extra_ca_certificates(source if name == "EXTRA_CA_CERTS" else "")
    assert destination.read_bytes() == COMPANY


@pytest.mark.parametrize("content", [b"", b"\x30\x82\x03", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_file_without_a_certificate_never_gets_into_the_image(
    destination: Path, company: Path, content: bytes
) -> None:
    company.write_bytes(content)
    with pytest.raises(StackError, match=f"EXTRA_CA_CERTS={company} has no PEM certificate"):
        copy_extra_ca_certificates(str(company))
    assert not destination.exists()


def test_the_build_finds_them_where_git_does_not() -> None:
    path = ca_certificates.DESTINATION.relative_to(PROJECT_ROOT)
    assert f"COPY {path.parent}/ " in (PROJECT_ROOT / "images/Dockerfile").read_text()
    assert f"{path.parent}/*{path.suffix}" in (PROJECT_ROOT / ".gitignore").read_text().splitlines()
