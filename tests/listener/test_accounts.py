"""The account map against a naive reading of its rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address, Family, Network, parse_address
from mailbell.listener._accounts import AccountMap
from mailbell.listener.configuration import AccountSettings

NETWORKS = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.1",
    "::/0",
    "2001:db8::/32",
    "2001:db8::1",
]
SOURCES = ["10.0.0.1", "10.1.0.1", "10.1.1.1", "192.0.2.1", "2001:db8::1", "2001:db8::2", "::2"]
LOCALS = ["192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8:1::10", "2001:db8:1::11", "::12"]


def account(name: str, sources: list[str], addresses: list[str]) -> AccountSettings:
    return AccountSettings(
        name,
        tuple(Network.parse(text) for text in sources),
        tuple(Address.parse(text) for text in addresses),
    )


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=3)


def declared() -> st.SearchStrategy[list[AccountSettings]]:
    drawn = st.lists(st.tuples(some(NETWORKS), some(LOCALS)), max_size=6)
    return drawn.map(
        lambda rows: [
            account(f"a{place}", sources, addresses)
            for place, (sources, addresses) in enumerate(rows)
            if sources or addresses
        ]
    )


def longest(accounts: list[AccountSettings], family: Family, source: int) -> tuple[str, ...]:
    """Return the accounts with the longest network that contains this source."""
    here = Network(family, source, family.bits)
    lengths = {
        place: max((net.length for net in one.sources if net.contains(here)), default=-1)
        for place, one in enumerate(accounts)
    }
    best = max(lengths.values(), default=-1)
    if best < 0:
        return ()
    return tuple(accounts[place].name for place, length in lengths.items() if length == best)


def naive(
    accounts: list[AccountSettings],
    unmatched_all: bool,
    family: Family,
    source: int,
    local: int | None,
) -> tuple[str, ...]:
    if not accounts:
        return ("default",)
    called = [one for one in accounts if (family, local) in one.addresses]
    by_address = tuple(one.name for one in called if not one.sources)
    by_source = longest([one for one in accounts if not one.addresses], family, source)
    everyone = tuple(one.name for one in accounts) if unmatched_all else ()
    return longest(called, family, source) or by_address or by_source or everyone


@given(
    declared(),
    st.booleans(),
    st.sampled_from(SOURCES),
    st.sampled_from([*LOCALS, "192.0.2.99", "2001:db8::99", None]),
)
def test_the_map_follows_the_rules(
    accounts: list[AccountSettings], unmatched_all: bool, source_text: str, local_text: str | None
) -> None:
    family, source = parse_address(source_text)
    local = None if local_text is None else parse_address(local_text)[1]
    found = AccountMap(accounts, unmatched_all)
    assert found.lookup(family, source, local) == naive(
        accounts, unmatched_all, family, source, local
    )
    assert found.names == (tuple(one.name for one in accounts) or ("default",))
    assert found.needs_local_address == any(one.addresses for one in accounts)


WORK = account("work", ["10.0.0.0/8"], [])
BRANCH = account("branch", ["10.1.0.0/16"], [])
PARTNER = account("partner", ["10.1.0.0/16"], [])
KEYED = account("keyed", ["10.2.0.0/16"], ["192.0.2.10"])
SECRET = account("secret", [], ["192.0.2.11"])
CASES = [
    ("10.9.9.9", None, ("work",)),
    ("10.1.9.9", None, ("branch", "partner")),  # the longest prefix: all accounts that share it
    ("10.2.0.1", "192.0.2.10", ("keyed",)),  # both match: wins over work
    ("10.2.0.1", "192.0.2.99", ("work",)),  # another address was called
    ("10.9.0.1", "192.0.2.10", ("work",)),  # the source does not match keyed, so it is work
    ("172.16.0.1", "192.0.2.10", ()),
    ("172.16.0.1", "192.0.2.11", ("secret",)),
    ("10.1.0.1", "192.0.2.11", ("secret",)),  # the called address wins over the source
    ("172.16.0.1", None, ()),
]


@pytest.mark.parametrize(("source", "local", "names"), CASES)
def test_the_rules_by_example(source: str, local: str | None, names: tuple[str, ...]) -> None:
    accounts = AccountMap([WORK, BRANCH, PARTNER, KEYED, SECRET], unmatched_all=False)
    called = None if local is None else parse_address(local)[1]
    assert accounts.lookup(*parse_address(source), called) == names


def test_without_accounts_everything_is_for_the_default() -> None:
    accounts = AccountMap([], unmatched_all=False)
    assert accounts.names == ("default",)
    assert accounts.lookup(Family.IPV4, 1, None) == ("default",)
    assert not accounts.needs_local_address


def test_what_matches_nothing_rings_everybody_when_asked_to() -> None:
    accounts = AccountMap([WORK, SECRET], unmatched_all=True)
    assert accounts.lookup(Family.IPV6, 1, 1) == ("work", "secret")


def test_an_account_that_names_its_network_twice_is_rung_once() -> None:
    twice = account("twice", ["10.0.0.0/8", "10.0.0.0/8"], [])
    assert AccountMap([twice], unmatched_all=False).lookup(Family.IPV4, 10 << 24, None) == (
        "twice",
    )


def test_the_same_number_in_the_other_family_is_another_address() -> None:
    secret = account("secret", [], ["0.0.0.12"])
    assert AccountMap([secret], unmatched_all=False).lookup(Family.IPV6, 1, 12) == ()
