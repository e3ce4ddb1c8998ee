"""Puts the machine's extra certificate authorities where the image build finds them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.host.runtime import StackError, relative
from seedcore.settings import PROJECT_ROOT

DESTINATION: Final = PROJECT_ROOT / "images" / "ca-certificates" / "machine.crt"
PEM_MARK: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class ExtraCertificates:
    """What is to be trusted as well.

    Args:
        source: the file, as it was named.
        content: its bytes.
    """

    source: str
    content: bytes


def read_extra_ca_certificates(configured: str) -> ExtraCertificates | None:
    """The file that `EXTRA_CA_CERTS`, or else `SSL_CERT_FILE`, names; None if neither does.

    Raises:
        StackError: the file is not there or has no certificate in it.
    """
    name = "EXTRA_CA_CERTS" if configured else "SSL_CERT_FILE"
    source = configured or os.environ.get(name, "")
    if not source:
        return None
    try:
        content = Path(source).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user who does not exist
        raise StackError(f"cannot read {name}={source}: {error}. Correct or unset it.") from error
    if PEM_MARK not in content:
        raise StackError(f"{name}={source} has no PEM certificate in it. Correct or unset it.")
    return ExtraCertificates(source, content)


def copy_extra_ca_certificates(configured: str) -> None:
    """Copy the extra authorities into the build context.

    Raises:
        StackError: as `read_extra_ca_certificates`.
    """
    extra = read_extra_ca_certificates(configured)
    if extra is None:
        DESTINATION.unlink(missing_ok=True)  # of an earlier build, not trusted any more
        return
    # Only when it differs: a new file time would not matter to Docker, but a rewrite could meet a running build.
    if not DESTINATION.exists() or DESTINATION.read_bytes() != extra.content:
        DESTINATION.write_bytes(extra.content)
        print(f"certificate authorities of {extra.source} go into the image ({relative(DESTINATION)})")
