"""A scene in which something does not happen fails, and so does a machine that lacks something."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.show import root
from scripts.show.ears import Ears
from scripts.show.events import Happening, What
from scripts.show.expected import Expected
from scripts.show.screen import Screen
from scripts.show.theatre import NotHappenedError, Theatre

RINGS = Expected(What.RANG, "mailbell-sender rings", "192.0.2.7:79")
NEVER = Expected(What.RANG, "nobody is rung", count=0)
SENT = "event=sent account=anna target=192.0.2.7:79 milliseconds=0.3"


def nothing(begins: Callable[[], None]) -> None:
    begins()


def fails(begins: Callable[[], None]) -> None:
    raise RuntimeError("the mail server refuses it")


def saying(ears: Ears, *lines: str) -> "subprocess.Popen[bytes]":
    """Start a program that says something, and ends."""
    process = subprocess.Popen(["printf", "%s\n", *lines], stdout=subprocess.PIPE)
    ears.hear("mailbell-sender", process)
    return process


def scene(
    theatre: Theatre, step: Expected, act: Callable[[Callable[[], None]], None] = nothing
) -> list[Happening]:
    patience = 0.2 if step.count == 0 or act is fails else 30.0
    return theatre.scene(
        "A scene", "Something is done.", act, [step], patience=patience, lingers=0.1
    )


@pytest.fixture
def theatre() -> Theatre:
    return Theatre(Screen("a show"), Ears())


def test_what_happens_is_shown(capsys: pytest.CaptureFixture[str], theatre: Theatre) -> None:
    with saying(theatre.ears, "event=locked uid=9 landlock_abi=7", SENT):
        (_, rang) = scene(theatre, RINGS)
    assert rang.about == "192.0.2.7:79"
    assert "mail server: " in capsys.readouterr().out
    (*_, last) = theatre.screen.cast().events
    assert "mailbell-sender rang 192.0.2.7:79 (0.3 ms)" in last.text


def test_what_does_not_happen_is_named(theatre: Theatre) -> None:
    with pytest.raises(NotHappenedError, match=r"^mailbell-sender rings$"):
        theatre.scene("A scene", "", nothing, [RINGS], patience=0.05, lingers=0.0)


def test_what_must_not_happen_is_named(theatre: Theatre) -> None:
    with saying(theatre.ears, SENT) as process:
        process.wait()
        with pytest.raises(NotHappenedError, match=r"^nobody is rung$"):
            scene(theatre, NEVER)


def test_what_cannot_be_done_is_named(theatre: Theatre) -> None:
    with pytest.raises(NotHappenedError, match="the mail server refuses it"):
        scene(theatre, NEVER, fails)


def test_a_mail_in_the_maildir_has_the_time_of_its_file(tmp_path: Path) -> None:
    ears = Ears()
    ears.watch(tmp_path)
    assert ears.listen(0.0) == []
    (tmp_path / "new").mkdir()
    file = tmp_path / "new" / "1"
    file.write_text("Subject: Lunch\n\nHello.\n")
    heard: list[Happening] = []
    end = time.monotonic() + 30
    while not heard and time.monotonic() < end:
        heard = ears.listen(1.0)
    assert [(each.what, each.about, each.at) for each in heard] == [
        (What.ARRIVED, "Lunch", file.stat().st_ctime)
    ]
    assert ears.listen(0.0) == []


def test_missing_programs_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said = root.lacks(builds=True)
    assert said == "this needs: apt-get install iproute2 mmdebstrap uidmap util-linux"


def test_the_cache_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert root.cache(tmp_path).parent == tmp_path / ".cache"
    monkeypatch.setattr(root, "_private", refusing(tmp_path / "tree", root._private))
    folder = root.cache(tmp_path / "tree")
    assert folder == tmp_path / "home" / "mailbell-demo"
    assert folder.stat().st_mode & 0o777 == 0o700


def refusing(tree: Path, private: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Refuse to make a folder in a tree, as to a user who may not write there."""

    def made(folder: Path) -> Path:
        if folder.is_relative_to(tree):
            raise PermissionError(folder)
        return private(folder)

    return made


def test_the_same_packages_have_the_same_place() -> None:
    place = root.place(Path("/cache"), "trixie", ("isync", "postfix"))
    assert place == root.place(Path("/cache"), "trixie", ("postfix", "isync"))
    assert place != root.place(Path("/cache"), "trixie", ("postfix",))
