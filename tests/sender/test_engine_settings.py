"""What the companion for the cluster must know before it is locked in."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from mailbell.core.errors import ConfigurationError, TemporaryError
from mailbell.sender import _engine_settings
from mailbell.sender._engine_settings import find_settings
from mailbell.sender._node_settings import Settings
from mailbell.sender.configuration import parse


def found(more: str, url: str = "redis://127.0.0.1") -> Settings:
    configuration = parse(f'[store]\nurl = "{url}"\n{more}'.encode())
    engine = configuration.store.url.engine
    assert engine is not None
    return find_settings(configuration, engine)


def test_everything_arrives(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o640)
    (tmp_path / "ca").write_text("PEM")
    made = found(
        f'node = "mx1"\npassword_file = "{tmp_path}/password"\nca_file = "{tmp_path}/ca"\n'
        'ports = [7000]\n[last_used]\nttl = "1m"\naddresses = 2',
        "rediss+sentinel://localhost,127.0.0.2/mail",
    )
    assert (made.node, made.password, made.certificates) == ("mx1", "secret", "PEM")
    assert (made.ttl, made.logins) == (60.0, 2)
    assert made.state == "/var/lib/mailbell-sender/state.db"
    assert made.connect_to == {26379, 6379, 7000}
    assert set(made.addresses) == {"localhost"}
    assert set(made.addresses["localhost"]) <= {"127.0.0.1", "::1"}


def test_the_name_of_the_host_is_that_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mx1.example.net")
    assert found("").node == "mx1.example.net"
    monkeypatch.setattr(socket, "gethostname", lambda: "no name")
    with pytest.raises(ConfigurationError, match=r"store\.node"):
        found("")


@pytest.mark.parametrize("text", ["", "\n", "secret\x01\n", "x" * 1025])
def test_what_is_no_password(text: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="is no password"):
        found(f'password_file = "{file}"')


def test_bytes_that_are_no_text_are_no_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"\xff\n")
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="is no password"):
        found(f'password_file = "{file}"')


def test_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="other users may read") as caught:
        found(f'password_file = "{file}"')
    assert caught.value.remedy == f"chmod o= {file}"


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "long"])
def test_a_file_that_cannot_be_used(what: str, tmp_path: Path) -> None:
    file = tmp_path / what
    if what == "folder":
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(file, 0o600)
    elif what == "long":
        file.write_bytes(bytes(2 << 20))
    with pytest.raises(ConfigurationError, match=r"store\.ca_file"):
        found(f'ca_file = "{file}"', "rediss://127.0.0.1")


def test_the_certificates_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "all"
    file.write_text("PEM")
    monkeypatch.setattr(_engine_settings, "_SYSTEMS", ("/nonexistent", str(file)))
    assert found("", "rediss://127.0.0.1").certificates == "PEM"
    monkeypatch.setattr(_engine_settings, "_SYSTEMS", ("/nonexistent",))
    with pytest.raises(ConfigurationError, match="no file of certificates"):
        found("", "rediss://127.0.0.1")


def test_a_name_that_is_not_found_may_be_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(TemporaryError, match=r"store\.url: redis\.invalid"):
        found("", "redis://redis.invalid")
