"""The load reports what was not taken, and refuses arguments that it does not understand."""

import subprocess

import pytest

from bench.listeners import HOST, accept_loop
from bench.processes import BUILD, Failed, Load, build


def test_what_the_listener_does_not_take_is_a_failure() -> None:
    build()
    with accept_loop() as listener:
        listener.drive(Load(5, 2))
    with pytest.raises(Failed, match="0 were taken, 5 failed"):
        Load(5, 2).run(HOST, listener.port)


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
