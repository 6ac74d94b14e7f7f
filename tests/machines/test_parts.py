"""What needs no machine: which kernel is taken, and what the documents say to do."""

import pytest
from machines.description import MACHINES
from machines.documents import commands
from machines.kernel import newest


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
    install, link, *_ = commands("README.md", "pip install .")
    assert install == "python3 -m venv /opt/mailbell && /opt/mailbell/bin/pip install ."
    assert link.startswith("ln -s /opt/mailbell/bin/mailbell ")
    assert commands("docs/service.md", "sysusers.d/mailbell.conf")[-1] == (
        "systemctl enable --now mailbelld.service"
    )
    with pytest.raises(LookupError):
        commands("README.md", "no document says this")


def test_each_machine_is_described() -> None:
    assert all(machine.title and machine.suite for machine in MACHINES.values())
