"""Any bytes give a Configuration or a ConfigurationError with printable problems, nothing else.

Each problem is one line of printable ASCII of bounded length. There is at least one problem,
and their number is bounded. A Configuration can be used: its accounts make an account map,
and each of its values is the same after it is written and read again.
"""

from mailbell.configuration.reader import MAX_PROBLEMS
from mailbell.configuration.values import Duration, Endpoint, Mode, Rate
from mailbell.core.errors import ConfigurationError
from mailbell.core.networks import Network
from mailbell.listener._accounts import AccountMap
from mailbell.listener.configuration import Configuration, parse

MAX_TEXT = 1200  # two quoted texts of 40 characters, ten columns each when escaped, and the form


def check(data: bytes) -> None:
    """Read `data` as a configuration.

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
        check_configuration(configuration)


def check_problems(error: ConfigurationError) -> None:
    """Check that a terminal and a log can show the problems."""
    assert 1 <= len(error.problems) <= MAX_PROBLEMS + 1
    for problem in error.problems:
        text = str(problem)
        assert problem.message
        assert text.isascii()
        assert text.isprintable(), repr(text)
        assert len(text) <= MAX_TEXT, repr(text)


def check_configuration(configuration: Configuration) -> None:
    """Use the configuration as the daemon would."""
    accounts = AccountMap(configuration.account, configuration.unmatched == "all")
    assert len(set(accounts.names)) == len(accounts.names)
    assert configuration.listen.tcp or configuration.listen.udp
    assert configuration.protocol.terminators
    for endpoint in (*configuration.listen.tcp, *configuration.listen.udp):
        assert Endpoint.parse(str(endpoint)) == endpoint
    for network in (*configuration.sources.allow, *configuration.sources.deny):
        assert Network.parse(str(network)) == network
    limits = configuration.limits
    assert Rate.parse(str(limits.rate)) == limits.rate
    assert Rate.parse(str(limits.total_rate)) == limits.total_rate
    for duration in (configuration.protocol.deadline, configuration.coalesce.interval):
        assert Duration.parse(str(duration)) == duration
    assert Mode.parse(str(configuration.socket.mode)) == configuration.socket.mode
