"""Where a daemon's local socket is made, for which group, and under which name in messages."""

import os
import socket
from pathlib import Path

import pytest

from mailbell._sys import credentials
from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.serving.local_place import LocalPlace, open_local


def test_a_socket_for_everyone_takes_many_connections_that_wait(tmp_path: Path) -> None:
    place = LocalPlace(path=str(tmp_path / "s"), mode=0o666, backlog=1000, program="mailbell-x")
    sock, withheld = open_local(place, None, None)
    with sock:
        assert withheld == ""
        assert os.stat(place.path).st_mode & 0o777 == 0o666
        waiting = []
        for _ in range(500):  # more than the backlog of other local sockets
            peer = socket.socket(socket.AF_UNIX)
            peer.setblocking(False)
            waiting.append(peer)
            assert peer.connect_ex(place.path) == 0
        for peer in waiting:
            peer.close()
        with pytest.raises(OperatingSystemError, match="another mailbell-x is running"):
            open_local(place, None, None)


def test_a_group_that_cannot_be_given_gets_no_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def no_group(name: str, key: str) -> None:
        asked.append((name, key))

    monkeypatch.setattr("mailbell.serving.local_place.find_group_to_give", no_group)
    place = LocalPlace(path=str(tmp_path / "s"), mode=0o660, group="bells", key="listen.group")
    sock, withheld = open_local(place, None, None)
    with sock:
        assert withheld == "bells"
        assert asked == [("bells", "listen.group")]
        assert os.stat(place.path).st_mode & 0o777 == 0o600


def test_a_group_that_does_not_exist_is_named_with_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigurationError, match=r"listen\.group: there is no group 'no such'"):
        credentials.find_group_to_give("no such", "listen.group")


def test_a_passed_socket_is_kept(tmp_path: Path) -> None:
    place = LocalPlace(path=str(tmp_path / "elsewhere"), mode=0o666)
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(tmp_path / "s"))
        os.chmod(tmp_path / "s", 0o666)
        assert open_local(place, passed, None) == (passed, "")


def test_a_passed_socket_without_a_path_is_refused(tmp_path: Path) -> None:
    place = LocalPlace(path=str(tmp_path / "s"), mode=0o666)
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind("")  # the kernel chooses an abstract name
        with pytest.raises(ConfigurationError, match="has no path"):
            open_local(place, passed, None)
