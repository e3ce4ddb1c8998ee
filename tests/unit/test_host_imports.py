"""The verbs must start at once, and work where Ray is broken: nothing of them imports it."""

import subprocess
import sys

from seedcore.settings import PROJECT_ROOT

IMPORT_EACH = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    if "ray" in sys.modules:
        sys.exit(f"{module} imports ray")
"""


def test_no_module_of_the_host_imports_ray() -> None:
    files = sorted((PROJECT_ROOT / "scripts/host").rglob("*.py"))
    modules = [".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts) for path in files]
    assert "scripts.host.stack" in modules
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
