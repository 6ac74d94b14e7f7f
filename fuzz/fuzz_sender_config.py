"""Any bytes give a sender's Configuration or a ConfigurationError with printable problems.

Each problem is one line of printable ASCII of bounded length, and there is at least one. A
Configuration can be used: its accounts can be found by each of their names, the lock gets the
TCP ports of its targets, and each of its values is the same after it is written and read again.
"""

from fuzz.fuzz_config import check_problems
from mailbell.configuration.values import Duration, Endpoint, Rate
from mailbell.core.errors import ConfigurationError
from mailbell.core.networks import Network
from mailbell.core.notification import Transport
from mailbell.core.target import Target
from mailbell.sender._accounts import Accounts
from mailbell.sender.configuration import Backoff, Configuration, StoreUrl, TargetSetting, parse


def check(data: bytes) -> None:
    """Read `data` as a configuration of the sender.

    Args:
        data: any bytes.

    Raises:
        AssertionError: the invariant does not hold.
    """
    try:
        configuration = parse(data)
    except ConfigurationError as error:
        check_problems(error)
    else:
        check_accounts(configuration)
        check_values(configuration)


def check_accounts(configuration: Configuration) -> None:
    """Find each account by each name, and see that the lock permits its targets."""
    accounts = Accounts(configuration)
    for settings, account in zip(configuration.account, accounts.listed, strict=True):
        for name in (settings.name, *settings.aliases):
            assert accounts.find(name) == account
        for target in account.targets:
            assert 1 <= target.port <= 0xFFFF
            if target.transport is Transport.TCP:
                assert target.port in configuration.ports
            else:
                assert target.port in configuration.udp_ports
            if isinstance(target, Target) and isinstance(target.host, str):
                assert configuration.has_names


def check_values(configuration: Configuration) -> None:
    """Write each value and read it again."""
    for endpoint in configuration.listen.comsat:
        assert Endpoint.parse(str(endpoint)) == endpoint
    for network in (*configuration.last_used.allow, *configuration.last_used.deny):
        assert Network.parse(str(network)) == network
    send = configuration.send
    assert Rate.parse(str(send.rate)) == send.rate
    assert Backoff.parse(str(send.backoff)) == send.backoff
    for duration in (send.deadline, send.interval, configuration.last_used.ttl):
        assert Duration.parse(str(duration)) == duration
    assert StoreUrl.parse(configuration.store.url) == configuration.store.url
    for target, _, _ in configuration.endpoints:
        assert TargetSetting.parse(str(target)) == target
