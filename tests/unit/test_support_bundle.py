import io
import tarfile
from pathlib import Path
from unittest.mock import patch

from pydantic import SecretStr

from scripts.host import support_bundle
from scripts.host.settings import load_host_settings
from scripts.host.support_bundle import Secrets
from scripts.ray_logs import LOGS, MAX_BYTES, write_logs


def test_the_token_and_credentials_in_addresses_are_removed(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc123\n")
    secrets = Secrets(load_host_settings().model_copy(update={"ray_auth_token_path": token}))
    text = b"Bearer abc123, http://user:word@proxy:3128/x and http://127.0.0.1:8000/a@b"
    clean = secrets.removed(text)
    assert clean == b"Bearer [removed], http://[removed]@proxy:3128/x and http://127.0.0.1:8000/a@b"


def test_what_the_user_has_set_beside_the_knobs_is_removed(tmp_path: Path) -> None:
    own = {"OPENAI_API_KEY": "sk-very-secret", "DEBUG": "true"}
    with patch.object(support_bundle, "own_variables", lambda: own):
        secrets = Secrets(load_host_settings().model_copy(update={"ray_auth_token_path": tmp_path / "none"}))
    assert secrets.removed(b'key=sk-very-secret {"holds": true}') == b'key=[removed] {"holds": true}'
    assert [support_bundle._shown(name, own[name]) for name in own] == ["[removed]", "[removed]"]
    assert support_bundle._shown("API_PORT", "8000") == "8000"


def test_the_password_of_the_engine_is_removed(tmp_path: Path) -> None:
    given = {"ray_auth_token_path": tmp_path / "none", "memory_password": SecretStr("pw")}
    secrets = Secrets(load_host_settings().model_copy(update=given))
    assert secrets.removed(b"MEMORY_PASSWORD=pw") == b"MEMORY_PASSWORD=[removed]"


def test_without_a_token_nothing_else_changes(tmp_path: Path) -> None:
    for content in (None, ""):
        token = tmp_path / "token"
        if content is not None:
            token.write_text(content)
        secrets = Secrets(load_host_settings().model_copy(update={"ray_auth_token_path": token}))
        assert secrets.removed(b"as it is") == b"as it is"


def test_of_a_large_log_the_end_is_kept(tmp_path: Path) -> None:
    for folder in (f"{LOGS}/old", f"node-1/{LOGS}"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / LOGS / "old/large.log").write_bytes(b"a" * MAX_BYTES + b"the end")
    (tmp_path / "node-1" / LOGS / "small.log").write_bytes(b"all")
    output = io.BytesIO()
    write_logs(tmp_path, output)
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as archive:
        found = {entry.name: archive.extractfile(entry) for entry in archive}
        content = {name: file.read() if file else b"" for name, file in found.items()}
    assert content.keys() == {"old/large.log", "node-1/small.log"}
    assert content["node-1/small.log"] == b"all"
    assert content["old/large.log"].endswith(b"athe end")
    assert len(content["old/large.log"]) == MAX_BYTES
