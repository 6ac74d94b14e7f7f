import pytest

from mailbell.core.errors import ConfigurationError
from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.target import Target
from mailbell.sender._accounts import Account, Accounts, LastUsed
from mailbell.sender.configuration import parse

ANNA = """
[[account]]
name = "anna@Example.org"
aliases = ["anna", "a@example.NET"]
targets = ["last-used", "192.0.2.7", "[2001:db8::7]:80", "laptop.example.net"]
[[account]]
name = "bob"
transport = "udp"
enabled = false
"""
DEFAULT = '[default]\ntargets = ["last-used", "192.0.2.1"]\n'


def accounts(toml: str) -> Accounts:
    return Accounts(parse(toml.encode()))


def test_a_target_without_a_port_has_the_port_of_all() -> None:
    found = accounts("[send]\nport = 7979\n" + ANNA).find("anna")
    assert found == Account(
        "anna@example.org",
        (
            LastUsed(7979, Transport.TCP),
            Target(Address.parse("192.0.2.7"), 7979, Transport.TCP),
            Target(Address.parse("2001:db8::7"), 80, Transport.TCP),
            Target("laptop.example.net", 7979, Transport.TCP),
        ),
    )


def test_an_account_has_its_own_transport_or_that_of_all() -> None:
    it = accounts('[send]\ntransport = "udp"\n' + ANNA.replace("udp", "tcp"))
    anna, bob = it.listed
    assert {target.transport for target in anna.targets} == {Transport.UDP}
    assert bob.targets == (LastUsed(79, Transport.TCP),)
    assert (anna.enabled, bob.enabled) == (True, False)


@pytest.mark.parametrize("name", ["anna", "anna@example.org", "anna@EXAMPLE.org", "a@example.net"])
def test_a_name_and_an_alias_mean_one_account(name: str) -> None:
    it = accounts(ANNA)
    assert it.find(name) is it.listed[0]


@pytest.mark.parametrize("name", ["Anna", "anna@example.com", "a", "", "bob ", "b\0b", "x" * 300])
def test_any_other_name_means_none(name: str) -> None:
    assert accounts(ANNA).find(name) is None


def test_an_account_that_is_not_listed_has_the_default_targets() -> None:
    it = accounts(DEFAULT + ANNA)
    assert it.find("Carol@Example.org") == Account(
        "Carol@example.org",
        (LastUsed(79, Transport.TCP), Target(Address.parse("192.0.2.1"), 79, Transport.TCP)),
    )
    assert it.find("anna") is it.listed[0]
    assert it.find("a b") is None
    assert it.find("x" * 255) is None


def test_a_name_without_a_normal_form_cannot_be_listed() -> None:
    with pytest.raises(ConfigurationError) as error:
        accounts(f'[[account]]\nname = "x@{"İ" * 252}"\n')
    assert [problem.path for problem in error.value.problems] == ["account[0].name"]
