"""AppArmor's own parser accepts the profile, and the profile grants no more than it says.

The profile is compiled for the features of AppArmor 3.0. No kernel loads it here:
tests/machines/test_apparmor.py has kernels that enforce it.
"""

import re
import subprocess
from pathlib import Path

import pytest
from harness.sender import PATIENCE
from service_files.units import (
    POLICY,
    SYSTEMD,
    analyze,
    copied_units,
    exposure,
    read,
    require,
    words_of,
)

PROFILE = POLICY / "apparmor" / "mailbelld"
FEATURES = Path("/etc/apparmor.d/abi/3.0")
ROOT = Path(__file__).parent.parent.parent
BOTH = ("mailbelld", "mailbell-sender")
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


@pytest.mark.parametrize("name", BOTH)
def test_descriptors_from_outside_of_the_units_file_system_have_a_name(name: str) -> None:
    """systemd opens standard input there. Without the flag, fstat(2) on it is denied."""
    lines = words_of(POLICY / "apparmor" / name)
    (head,) = [line for line in lines if line.startswith("profile ")]
    assert head == f"profile {name} flags=(attach_disconnected) {{"


# --- a service asks for its profile once it is loaded ---------------------------------


def drop_in(name: str) -> list[str]:
    return words_of(POLICY / "apparmor" / f"{name}.service.conf")


@pytest.mark.parametrize("name", BOTH)
def test_the_service_asks_for_it_only_with_the_file_that_comes_with_it(name: str) -> None:
    """The kernel logs a denial at each start of a service that names a missing profile."""
    assert "Service.AppArmorProfile" not in dict(read(f"{name}.service").settings)
    # Without "-": the service does not start if the profile is missing.
    assert drop_in(name) == ["[Service]", f"AppArmorProfile={name}"]


@pytest.mark.parametrize("name", BOTH)
def test_systemd_takes_that_file(name: str, tmp_path: Path) -> None:
    unit = copied_units(tmp_path, f"{name}.service")
    folder = tmp_path / f"{unit.name}.d"
    folder.mkdir()
    text = (POLICY / "apparmor" / f"{unit.name}.conf").read_text()

    def verify(text: str) -> str:
        (folder / "apparmor.conf").write_text(text)
        done = analyze("verify", "--man=no", f"./{unit.name}", cwd=tmp_path)
        return done.stdout + done.stderr

    assert verify(text) == ""
    assert "AppArmorProfil" in verify(text.replace("AppArmorProfile=", "AppArmorProfil="))
    assert exposure(unit) == exposure(SYSTEMD / unit.name)


@pytest.mark.parametrize("name", BOTH)
def test_the_steps_are_those_of_the_document(name: str) -> None:
    """The profile is loaded before the service asks for it."""
    service = f"{name}.service"
    steps = [
        f"install -D -m 0644 -t /etc/apparmor.d apparmor/{name}",
        f"apparmor_parser --replace /etc/apparmor.d/{name}",
        f"install -D -m 0644 apparmor/{service}.conf /etc/systemd/system/{service}.d/apparmor.conf",
        "systemctl daemon-reload",
        f"systemctl restart {service}",
    ]

    def flat(text: str) -> str:
        return re.sub(r"[\\\s]+", " ", text)

    comment = (POLICY / "apparmor" / name).read_text().replace("\n#", "\n")
    assert flat("\n".join(steps)) in flat(comment)
    document = (ROOT / "docs" / "service.md").read_text().replace("mailbelld", name)
    assert flat("\n".join(steps)) in flat(document)
