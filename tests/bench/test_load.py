"""The load reports what was not taken, and refuses arguments that it does not understand."""

import socket
import subprocess
import threading

import pytest

from bench.listeners import HOST, accept_loop
from bench.processes import BUILD, Failed, Load, build


def test_what_the_listener_does_not_take_is_a_failure() -> None:
    build()
    with accept_loop() as listener:
        listener.drive(Load(5, 2))
    with pytest.raises(Failed, match="0 were taken, 5 failed"):
        Load(5, 2).run(HOST, listener.port)


def test_what_the_listener_does_not_refuse_is_a_failure() -> None:
    build()
    with accept_loop() as listener:
        with pytest.raises(Failed, match="5 were taken, 0 failed"):
            Load(5, 2, refused=True).run(HOST, listener.port)
        listener.sent += 5


def test_a_listener_that_closes_without_reading_has_refused() -> None:
    build()
    with socket.create_server((HOST, 0)) as server:

        def refuse() -> None:
            for _ in range(5):
                connection, _ = server.accept()
                connection.recv(1)  # not all that comes
                connection.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        Load(5, 1, refused=True).run(HOST, server.getsockname()[1])
        thread.join()


def test_each_source_calls_as_often_in_a_row_as_it_is_told() -> None:
    build()
    callers = []
    with socket.create_server((HOST, 0)) as server:

        def take() -> None:
            for _ in range(6):
                connection, (host, _) = server.accept()
                callers.append(host)
                while connection.recv(100):
                    pass
                connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        Load(6, 1, sources=2, times=2).run(HOST, server.getsockname()[1])
        thread.join()
    assert callers == ["127.1.0.1"] * 2 + ["127.1.1.1"] * 2 + ["127.1.0.1"] * 2


@pytest.mark.parametrize(
    "arguments", [[], ["x", "1", "1", "1", "1", "1"], ["::1", "0"] + ["1"] * 4]
)
def test_it_refuses_what_it_does_not_understand(arguments: list[str]) -> None:
    build()
    done = subprocess.run([BUILD / "load", *arguments], check=False, capture_output=True)
    assert done.returncode == 64


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(Failed, match="no C compiler"):
        build()
