"""What `mailbell check` says of AppArmor. tests/machines has kernels that enforce a profile."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mailbell.cli._apparmor import confinement
from mailbell.cli._finding import Mark
from mailbell.cli._units import Units

SERVICE = "mailbelld.service"
Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Makes the part of /sys and /proc that the kernel shows."""

    def make(enabled: str = "Y\n", under: str = "mailbelld (enforce)\n", **modes: str) -> Path:
        files = {
            "sys/module/apparmor/parameters/enabled": enabled,
            "sys/kernel/security/apparmor/policy/profiles/other.1/mode": "enforce\n",
            "proc/7/attr/apparmor/current": under,
        }
        for name, mode in modes.items():
            files[f"sys/kernel/security/apparmor/policy/profiles/{name}.102/mode"] = f"{mode}\n"
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def one(units: Units, root: Path) -> tuple[Mark, str, int]:
    (finding,) = confinement(units, SERVICE, root)
    assert bool(finding.remedy) is (finding.mark is not Mark.OK)
    return finding.mark, finding.what, finding.exit_code


def test_a_service_under_its_profile(machine: Machine) -> None:
    units = Units("active", pid=7, profile="mailbelld")
    said = "AppArmor enforces the profile mailbelld on mailbelld.service"
    assert one(units, machine(mailbelld="enforce")) == (Mark.OK, said, 0)


def test_a_service_that_does_not_run(machine: Machine) -> None:
    units = Units("inactive", profile="mailbelld")
    said = "AppArmor will enforce the profile mailbelld on mailbelld.service"
    assert one(units, machine(mailbelld="enforce")) == (Mark.OK, said, 0)


UNSEEN = "this user cannot see whether AppArmor enforces the profile mailbelld on mailbelld.service"


def test_a_process_that_is_hidden(machine: Machine) -> None:
    """As by the option hidepid of /proc, proc(5)."""
    units = Units("active", pid=8, profile="mailbelld")
    assert one(units, machine(mailbelld="enforce")) == (Mark.WARN, UNSEEN, 0)


def test_a_mode_that_is_hidden(machine: Machine) -> None:
    units = Units("inactive", profile="mailbelld")
    assert one(units, machine(mailbelld="")) == (Mark.WARN, UNSEEN, 0)


def test_a_process_that_does_not_run_in_the_mode_of_its_profile(machine: Machine) -> None:
    root = machine(under="mailbelld (complain)\n", mailbelld="enforce")
    said = "AppArmor does not enforce the profile mailbelld: it is in complain mode"
    assert one(Units("active", pid=7, profile="mailbelld"), root) == (Mark.WARN, said, 0)


def test_a_profile_of_which_this_one_is_a_part(machine: Machine) -> None:
    root = machine(under="mailbelld//other (enforce)\n", mailbelld="enforce")
    said = "mailbelld.service was started without the AppArmor profile mailbelld"
    assert one(Units("active", pid=7, profile="mailbelld"), root) == (Mark.WARN, said, 0)


def test_a_profile_that_is_not_loaded_where_the_service_needs_it(machine: Machine) -> None:
    said = "AppArmor has no profile mailbelld, and mailbelld.service does not start without it"
    assert one(Units("failed", profile="mailbelld"), machine()) == (Mark.FAIL, said, 71)


def test_a_profile_that_is_not_loaded_where_the_service_can_do_without(machine: Machine) -> None:
    said = "AppArmor has no profile mailbelld, and mailbelld.service starts without it"
    assert one(Units("active", profile="-mailbelld"), machine()) == (Mark.WARN, said, 0)


def test_a_service_that_runs_longer_than_its_profile(machine: Machine) -> None:
    root = machine(under="unconfined\n", mailbelld="enforce")
    said = "mailbelld.service was started without the AppArmor profile mailbelld"
    units = Units("active", pid=7, profile="mailbelld")
    assert one(units, root) == (Mark.WARN, said, 0)


def test_a_profile_that_only_complains(machine: Machine) -> None:
    root = machine(under="mailbelld (complain)\n", mailbelld="complain")
    said = "AppArmor does not enforce the profile mailbelld: it is in complain mode"
    units = Units("active", pid=7, profile="mailbelld")
    assert one(units, root) == (Mark.WARN, said, 0)


def test_a_profile_that_is_loaded_and_not_asked_for(machine: Machine) -> None:
    """So it is after an update of a unit that had named its profile itself."""
    said = "AppArmor has the profile mailbelld, but mailbelld.service does not ask for it: "
    said += "it starts unconfined"
    assert one(Units("active", pid=7), machine(mailbelld="enforce")) == (Mark.WARN, said, 0)


def test_a_layer_that_nobody_asked_for_is_no_problem(machine: Machine) -> None:
    said = "AppArmor has no profile mailbelld, and mailbelld.service asks for none"
    assert one(Units("active", pid=7), machine()) == (Mark.OK, said, 0)


@pytest.mark.parametrize("enabled", ["N\n", ""])
def test_nothing_is_said_where_apparmor_is_off(machine: Machine, enabled: str) -> None:
    root = machine(enabled, mailbelld="enforce")
    assert list(confinement(Units("active", profile="mailbelld"), SERVICE, root)) == []


def test_nothing_is_said_where_the_profiles_cannot_be_seen(tmp_path: Path) -> None:
    """Such as in a container, in which no securityfs is mounted."""
    path = tmp_path / "sys/module/apparmor/parameters/enabled"
    path.parent.mkdir(parents=True)
    path.write_text("Y\n")
    assert list(confinement(Units("active"), SERVICE, tmp_path)) == []


@pytest.mark.parametrize(
    ("pid", "under", "mark", "said"),
    [
        (7, "mailbelld (enforce)\n", Mark.OK,
         "AppArmor enforces the profile mailbelld on mailbelld.service"),
        (7, "mailbelld (complain)\n", Mark.WARN,
         "AppArmor does not enforce the profile mailbelld: it is in complain mode"),
        (7, "unconfined\n", Mark.WARN,
         "mailbelld.service was started without the AppArmor profile mailbelld"),
        (7, "", Mark.WARN, UNSEEN),
        (8, "", Mark.WARN, UNSEEN),
        (0, "", Mark.WARN, UNSEEN),
    ],
)  # fmt: skip
def test_a_profile_is_asked_for_where_the_profiles_cannot_be_seen(
    machine: Machine, pid: int, under: str, mark: Mark, said: str
) -> None:
    """The process tells under which one it runs."""
    root = machine(under=under)
    shutil.rmtree(root / "sys/kernel")
    units = Units("active", pid=pid, profile="-mailbelld")
    assert one(units, root) == (mark, said, 0)
