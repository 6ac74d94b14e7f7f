"""AppArmor's own parser accepts the profile, and the profile grants no more than it says.

The profile is compiled for the features of AppArmor 3.0. No kernel loads it.
"""

import subprocess
from pathlib import Path

import pytest
from harness.sender import PATIENCE
from service_files.units import POLICY, require, words_of

PROFILE = POLICY / "apparmor" / "mailbelld"
FEATURES = Path("/etc/apparmor.d/abi/3.0")
WRITABLE = {
    "/dev/null",
    "/run/mailbell/mailbell.sock",
    "/run/systemd/notify",
    "/run/systemd/journal/stdout",
}


def parsed(profile: Path, *options: str) -> "subprocess.CompletedProcess[bytes]":
    require("apparmor_parser")
    if not FEATURES.exists():
        pytest.skip("this AppArmor is older than 3.0")
    return subprocess.run(
        ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--Werror",
         "--kernel-features", str(FEATURES), *options, str(profile)],
        check=False, capture_output=True, timeout=PATIENCE,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )  # fmt: skip


def test_it_compiles_without_a_warning() -> None:
    done = parsed(PROFILE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    compiled = parsed(PROFILE, "--stdout")
    assert compiled.returncode == 0
    assert b"mailbelld" in compiled.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [("/dev/null rw,", "/dev/null rw"), ("network inet stream", "network inet steam"),
     ("/dev/null rw,", "/dev/null rq,")],
    ids=["comma", "word", "letter"],
)  # fmt: skip
def test_what_is_misspelt_does_not(tmp_path: Path, old: str, new: str) -> None:
    wrong = tmp_path / "mailbelld"
    assert old in PROFILE.read_text()
    wrong.write_text(PROFILE.read_text().replace(old, new, 1))
    assert parsed(wrong).returncode != 0


def test_nothing_may_be_executed_and_next_to_nothing_written() -> None:
    lines = [line.strip().rstrip(",") for line in words_of(PROFILE)]
    rules = [line.split() for line in lines if line.startswith(("/", "@"))]
    assert len(rules) > 10
    letters = {path: set(permitted) for path, permitted in rules}
    assert set().union(*letters.values()) == set("rmw")
    assert {path for path, permitted in letters.items() if "w" in permitted} == WRITABLE


def test_it_grants_no_capability_and_includes_nothing_that_might() -> None:
    lines = [line.strip() for line in words_of(PROFILE)]
    kinds = {line.split()[0] for line in lines if line[0] not in "/@}"}
    assert kinds == {"abi", "include", "profile", "network", "unix", "signal"}
    assert [line for line in lines if line.startswith("include")] == ["include <tunables/global>"]
