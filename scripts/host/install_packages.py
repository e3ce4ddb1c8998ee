"""Makes virtual environments, here and in the image build:

    python3 -m scripts.host.install_packages get-uv FOLDER LOCK_FILE...
    python3 -m scripts.host.install_packages install UV ENVIRONMENT LOCK_FILE...

`get-uv` has pip bring the locked uv to FOLDER/bin/uv; uv installs several times as fast as pip itself. `install` makes
ENVIRONMENT with it, or brings it up to date. With `--log=FILE` the whole output is in there, and a terminal shows the
last line. Of the standard library alone.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from argparse import ArgumentParser
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from scripts.host.package_index import (
    PipConfigurationError,
    environment_for_pip,
    environment_for_uv,
    read_options,
    remedy_for,
)

REQUIREMENT_OF_UV: Final = re.compile(r"^uv==(?:.*\\\n)*.*\n", re.MULTILINE)  # with its hashes, a line each
PACKAGE: Final = re.compile(r" [-+~] ")  # how uv's list of what it installed begins
LINES_SHOWN: Final = 20  # of what failed
WIDTH: Final = 100  # characters of a line that the next one replaces
ERASE: Final = "\r\x1b[K"


class InstallError(Exception):
    """Raised when a program failed; the message is its output."""


class Installer:
    """Runs the programs.

    Args:
        log: gets all that they say; None: it is shown line by line, and that is all.
    """

    def __init__(self, log: IO[str] | None) -> None:
        self._log = log
        self._is_terminal = log is not None and sys.stdout.isatty()

    def get_uv(self, folder: Path, lock_files: list[Path]) -> None:
        """Have pip bring the uv that is locked: `folder/bin/uv`.

        Raises:
            InstallError: this Python has no pip, or the download failed.
        """
        wheel_of_pip = _wheel_of_pip()
        if wheel_of_pip is None:
            name = "python{}.{}-venv".format(*sys.version_info)
            missing = f"{sys.executable} has no pip for new environments. On Debian and Ubuntu: apt install {name}\n"
            self._show(missing)
            raise InstallError(missing)
        if folder.exists():
            shutil.rmtree(folder)
        with zipfile.ZipFile(wheel_of_pip) as wheel:
            wheel.extractall(folder)
        locked = folder / "uv.lock"
        locked.write_text("".join(REQUIREMENT_OF_UV.findall("".join(path.read_text() for path in lock_files))))
        pip = _pip_beside(folder / "bin/uv")
        to, what = f"--target={folder}", f"--requirement={locked}"
        command = [*pip, "install", "--quiet", "--no-compile", "--require-hashes", to, what]
        self._run(command, environment_for_pip(read_options(pip)))

    def install(self, uv: Path, environment: Path, lock_files: list[Path], *options: str) -> None:
        """Make the environment if it is not there, and install what the lock files have.

        Args:
            uv: the program, with pip beside it.
            environment: its folder.
            lock_files: all at once, so that uv sees a conflict between them.
            options: of `uv pip install`.

        Raises:
            InstallError: the packages cannot be had, or not be joined.
        """
        told = environment_for_uv(read_options(_pip_beside(uv)))
        python = environment / "bin/python"
        if not python.exists():
            # Relocatable: its programs work after the folder was moved or copied.
            self._run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, environment], told)
        files = [f"--requirement={path}" for path in lock_files]
        self._run([uv, "pip", "install", "--python", python, "--require-hashes", *options, *files], told)

    def _run(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        last: deque[str] = deque(maxlen=LINES_SHOWN)
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as program:
            for line in program.stdout or ():
                last.append(line)
                self._show(line)
        if self._is_terminal:
            print(end=ERASE, flush=True)
        if program.returncode:
            raise InstallError("".join(last))

    def _show(self, line: str) -> None:
        if self._log is not None:
            self._log.write(line)
            if PACKAGE.match(line):
                return
        if self._is_terminal:
            print(end=f"{ERASE}  {line.rstrip()[:WIDTH]}", flush=True)
        else:
            print(line, end="", flush=True)

    def explain(self, output: str) -> None:
        """Say why a program failed: on a terminal also the end of its output, most of which was replaced there."""
        if self._is_terminal:
            print("".join(f"  | {line}\n" for line in output.splitlines()), end="")
        remedy = remedy_for(output)
        if remedy:
            print(f"What to do: {remedy}.")
        if self._log is not None:
            print(f"The whole output is in {self._log.name}")


def _wheel_of_pip() -> Path | None:
    """The pip that Python has for new virtual environments; to make one with it takes several seconds."""
    folders = [Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or "/nowhere")]  # of Linux distributions
    ensurepip = find_spec("ensurepip")
    if ensurepip is not None and ensurepip.origin is not None:
        folders.append(Path(ensurepip.origin).with_name("_bundled"))
    return next((path for folder in folders for path in sorted(folder.glob("pip-*.whl"))), None)


def _pip_beside(uv: Path) -> list[str]:
    """How pip is started, in a virtual environment or in the folder of `get_uv`."""
    package = uv.parents[1] / "pip"
    return (
        [sys.executable, "-I", str(package)] if package.exists() else [str(uv.with_name("python")), "-I", "-m", "pip"]
    )


def main() -> int:
    """Do what the command line says; the exit code is 1 when a program failed, and 2 when the command line is wrong."""
    parser = ArgumentParser(prog="python3 -m scripts.host.install_packages", description=__doc__)
    parser.add_argument("--log", type=Path, metavar="FILE")
    verbs = parser.add_subparsers(dest="verb", required=True)
    get_uv = verbs.add_parser("get-uv")
    get_uv.add_argument("folder", type=Path)
    install = verbs.add_parser("install")
    install.add_argument("uv", type=Path)
    install.add_argument("environment", type=Path)
    install.add_argument("--compile-bytecode", action="store_const", const=["--compile-bytecode"], default=[])
    for verb in (get_uv, install):
        verb.add_argument("lock_files", type=Path, nargs="+")
    arguments = parser.parse_args()
    log = arguments.log.open("a") if arguments.log else None
    installer = Installer(log)
    try:
        if arguments.verb == "get-uv":
            installer.get_uv(arguments.folder, arguments.lock_files)
        else:
            options = arguments.compile_bytecode
            installer.install(arguments.uv, arguments.environment, arguments.lock_files, *options)
    except InstallError as error:
        installer.explain(str(error))
        return 1
    except PipConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if log is not None:
            log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
