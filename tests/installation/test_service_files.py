"""The files of `policy/` in another place: what changes, what stays, and what is refused."""

import re
import subprocess
from pathlib import Path

import pytest
from harness.sender import PATIENCE
from hypothesis import given
from hypothesis import strategies as st
from service_files.units import POLICY, SYSTEMD, copied_units, require, words_of

from mailbell.core.errors import ConfigurationError
from mailbell.core.escape import printable
from mailbell.installation.service_files import (
    HOME,
    MARK,
    is_marked,
    is_plain,
    marked,
    placed,
)

FILES = sorted(
    path.relative_to(POLICY)
    for kind in ("systemd", "apparmor", "sysusers.d", "tmpfiles.d", "nftables")
    for path in (POLICY / kind).iterdir()
)
SERVICES = ("mailbelld", "mailbell-sender")
FEATURES = Path("/etc/apparmor.d/abi/3.0")

NAMES = st.from_regex(r"\A[A-Za-z0-9_.+-]{1,12}\Z").filter(lambda name: name not in {".", ".."})
FOLDERS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))


def text(path: Path | str) -> str:
    return (POLICY / path).read_text()


def changed(name: str, *, programs: str, code: list[str]) -> list[tuple[str, list[str]]]:
    """Return each line of a file that was replaced, and what stands there instead."""
    old = text(name)
    new = placed(old, programs=programs, code=code)
    rows = []
    for line in old.splitlines(keepends=True):
        now = placed(line, programs=programs, code=code)
        if now != line:
            rows.append((line.strip(), [each.strip() for each in now.splitlines()]))
    assert new == "".join(
        placed(line, programs=programs, code=code) for line in old.splitlines(keepends=True)
    )
    return rows


# --- what changes -----------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_of_a_debian_package_names_usr_alone(name: str) -> None:
    rows = changed(f"systemd/{name}.service", programs="/usr/bin", code=["/usr"])
    assert [new for _, new in rows] == [
        [f"ExecStart=/usr/bin/{name}"],
        ["ExecPaths=/usr -/lib -/lib64"],
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_of_an_environment_names_its_folders_and_those_of_python(name: str) -> None:
    code = ["/usr", "/opt/pipx/venvs/mailbell", "/opt/uv/python/cpython-3.13", "/usr/local"]
    rows = changed(f"systemd/{name}.service", programs="/opt/pipx/venvs/mailbell/bin", code=code)
    assert [new for _, new in rows] == [
        [f"ExecStart=/opt/pipx/venvs/mailbell/bin/{name}"],
        ["ExecPaths=/usr /opt/pipx/venvs/mailbell /opt/uv/python/cpython-3.13 -/lib -/lib64"],
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_a_profile_has_its_three_rules_for_each_folder_and_one_for_the_program(name: str) -> None:
    rows = changed(f"apparmor/{name}", programs="/srv/m/bin", code=["/srv/m", "/usr", "/usr/local"])
    assert rows == [
        (f"{HOME}/{rule}", [f"/srv/m/{rule}", f"/usr/local/{rule}"])
        for rule in ("{,**} r,", "**.so* mr,", "bin/python3* mr,")
    ] + [(f"{HOME}/bin/{name} r,", [f"/srv/m/bin/{name} r,"])]


@pytest.mark.parametrize("name", SERVICES)
def test_a_profile_of_a_debian_package_names_no_folder_more(name: str) -> None:
    rows = changed(f"apparmor/{name}", programs="/usr/bin", code=["/usr"])
    assert [new for _, new in rows] == [[], [], [], [f"/usr/bin/{name} r,"]]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_names_the_old_place_any_more(path: Path) -> None:
    """A new line that names it in another way must be known to `placed`."""
    assert HOME not in placed(text(path), programs="/usr/bin", code=["/usr"])
    assert HOME not in placed(text(path), programs="/srv/m/bin", code=["/usr", "/srv/m"])


@pytest.mark.parametrize("path", FILES, ids=str)
def test_in_the_usual_place_no_file_changes(path: Path) -> None:
    for code in ([HOME], ["/usr", HOME], [HOME, "/usr", HOME]):
        assert placed(text(path), programs=f"{HOME}/bin", code=code) == text(path)


@given(FOLDERS, st.lists(FOLDERS, max_size=4), st.sampled_from(FILES))
def test_only_lines_that_name_the_place_change(programs: str, code: list[str], path: Path) -> None:
    old = text(path)
    new = placed(old, programs=programs, code=code)
    kept = [line for line in old.splitlines() if HOME not in line]
    lines = new.splitlines()
    assert [line for line in lines if line in set(kept)] == kept
    others = [programs, *(folder for folder in dict.fromkeys(code) if folder != "/usr")]
    for line in set(lines) - set(kept):
        assert line.startswith(("ExecStart=", "ExecPaths=", "  /"))
        assert line.startswith("ExecStart=") or any(
            folder in line for folder in ["/usr", programs, *others]
        )
    assert placed(old, programs=programs, code=[*code, "/usr", *code]) == new


def test_only_the_first_folder_of_a_rule_is_the_place() -> None:
    """AppArmor's rule may name another file behind it."""
    placing = {"programs": "/srv/m/bin", "code": ["/srv/m"]}
    for rule, new in (
        (
            f"  {HOME}/bin/mailbelld r, # not {HOME}/bin\n",
            f"  /srv/m/bin/mailbelld r, # not {HOME}/bin\n",
        ),
        (f"  {HOME}/** r, # not {HOME}/bin\n", f"  /srv/m/** r, # not {HOME}/bin\n"),
    ):
        assert placed(rule, **placing) == new  # type: ignore[arg-type]


# --- what reads the result ---------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("code", [["/usr"], ["/opt/uv/tools/mailbell", "/opt/uv/python/cpython-3"]])
def test_systemd_and_apparmor_take_what_was_placed(
    tmp_path: Path, name: str, code: list[str]
) -> None:
    require("systemd-analyze", "apparmor_parser")
    unit = copied_units(tmp_path, f"{name}.service")
    start = re.compile(r"(?m)^ExecStart=.*$")
    program = start.search(unit.read_text())
    assert program
    new = marked(placed(text(SYSTEMD / unit.name), programs="/x", code=code))
    unit.write_text(start.sub(program[0], new))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"./{unit.name}"],
        check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
    )  # fmt: skip
    assert (said.stdout, said.stderr) == ("", "")
    if not FEATURES.exists():
        pytest.skip("this AppArmor is older than 3.0")
    profile = tmp_path / "profile"
    profile.write_text(marked(placed(text(f"apparmor/{name}"), programs="/x", code=code)))
    done = subprocess.run(
        ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--Werror",
         "--kernel-features", str(FEATURES), str(profile)],
        check=False, capture_output=True, timeout=PATIENCE,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# --- what cannot stand in a file ---------------------------------------------------------


@pytest.mark.parametrize(
    "folder",
    ["", "/", "opt", "/opt/", "//opt", "/opt/..", "/opt/./m", "/opt/a b", "/opt/%h", "/opt/$HOME",
     "/opt/a\nExecStart=/x", "/opt/{a,b}", "/opt/*", "/opt/é", '/opt/"', "/opt/a\\x20", "/opt/a#",
     "/opt/@{HOME}", "/opt/a\n"],
)  # fmt: skip
def test_a_folder_that_would_be_misread_is_refused(folder: str) -> None:
    assert not is_plain(folder)
    for where in ({"programs": folder, "code": ["/usr"]}, {"programs": "/x", "code": [folder]}):
        with pytest.raises(ConfigurationError) as caught:
            placed("", **where)  # type: ignore[arg-type]
        if folder.isprintable() and folder.isascii():
            what = f"the folder {printable(folder)} of mailbell cannot stand in a file of systemd"
            assert caught.value.what == what
        assert caught.value.remedy == "install mailbell in a folder such as /opt/mailbell"
        assert "\n" not in str(caught.value)


@given(FOLDERS)
def test_an_ordinary_folder_is_not(folder: str) -> None:
    assert is_plain(folder)


@given(st.text(max_size=40))
def test_a_folder_that_is_accepted_is_one_word_of_plain_characters(folder: str) -> None:
    if is_plain(f"/{folder}"):
        assert re.fullmatch(r"[A-Za-z0-9_./+-]+", folder)
        assert not {"", ".", ".."} & set(folder.split("/"))


# --- the mark ----------------------------------------------------------------------------


@given(st.text(max_size=60))
def test_a_mark_is_found_and_changes_no_other_line(content: str) -> None:
    new = marked(content)
    assert is_marked(new)
    assert new.replace(MARK, "", 1) == content or content.startswith(MARK)


def test_a_program_keeps_its_interpreter_in_the_first_line() -> None:
    assert marked("#!/usr/bin/python3\nx\n") == f"#!/usr/bin/python3\n{MARK}x\n"
    assert is_marked(f"#!/usr/bin/python3\n{MARK}")
    assert not is_marked(f"\n{MARK}")
    assert not is_marked(f"#!/bin/sh\n\n{MARK}")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_marked_file_says_the_same(path: Path, tmp_path: Path) -> None:
    assert not is_marked(text(path))
    copy = tmp_path / "copy"
    copy.write_text(marked(text(path)))
    assert words_of(copy) == words_of(POLICY / path)
