"""What needs no machine: which kernel is taken, and what the documents say to do."""

import pytest
from machines.description import MACHINES
from machines.documents import commands, exposure
from machines.kernel import newest
from machines.results import outcomes


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["linux-image-6.9.9+deb13-cloud-amd64", "linux-image-6.12.1+deb13-cloud-amd64"], 1),
        (["linux-image-6.1.0-50-cloud-amd64", "linux-image-6.1.0-9-cloud-amd64"], 0),
        (["linux-image-7.2.1+deb14-cloud-amd64", "linux-image-7.2.2+deb14-amd64"], 0),
        (["linux-image-7.2.1+deb14-cloud-amd64", "linux-image-7.2.2+deb14-cloud-amd64-dbg"], 0),
        (["linux-image-7.2.1+deb14-cloud-amd64", "linux-image-cloud-amd64"], 0),
    ],
)
def test_the_newest_kernel_is_taken(names: list[str], found: int) -> None:
    assert newest(names, "amd64") == names[found]


def test_without_such_a_kernel_it_says_so() -> None:
    with pytest.raises(LookupError):
        newest(["linux-image-7.2.1+deb14-cloud-amd64"], "arm64")


def test_the_commands_are_those_that_a_person_types() -> None:
    assert commands("docs/quickstart.md", "pip install .") == [
        "apt-get install -y --no-install-recommends python3-venv",
        "python3 -m venv /opt/mailbell",
        "/opt/mailbell/bin/pip install .",
    ]
    assert commands("docs/service.md", "sysusers.d/mailbell.conf")[-1] == (
        "systemctl enable --now mailbelld.service"
    )
    with pytest.raises(LookupError):
        commands("README.md", "no document says this")


@pytest.mark.parametrize(
    ("containing", "last"),
    [
        ("useradd --system", "mailbelld"),
        ("sysusers.d/mailbell-sender.conf", "systemctl enable --now mailbell-sender.service"),
        ("apparmor_parser --replace", "systemctl restart mailbelld.service"),
    ],
)
def test_a_machine_finds_its_commands(containing: str, last: str) -> None:
    """Else only a run of the machines would show that a document has changed its form."""
    assert commands("docs/service.md", containing)[-1].endswith(last)
    assert float(exposure()) < 10


def test_each_machine_is_described() -> None:
    assert all(machine.title and machine.suite for machine in MACHINES.values())


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ("12 passed in 3.40s", (12, 0)),
        ("7 passed, 6 skipped in 21.58s", (7, 6)),
        ("6 skipped, 1 warning in 0.50s", (0, 6)),
        ("===== 2 passed, 1 deselected in 75.10s (0:01:15) =====", (2, 0)),
    ],
)
def test_what_pytest_in_a_machine_has_shown_is_counted(last: str, found: tuple[int, int]) -> None:
    assert outcomes(f"...\nSKIPPED [1] some.py:3: a reason\n{last}\n") == found


@pytest.mark.parametrize("last", ["", "Killed", "1 failed, 3 passed in 4.00s", "1 error in 2.00s"])
def test_what_does_not_end_well_has_shown_nothing(last: str) -> None:
    with pytest.raises(AssertionError):
        outcomes(f"....\n{last}")
