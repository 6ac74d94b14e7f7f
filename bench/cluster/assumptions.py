"""What is assumed and not measured: how people use mail, the limits of a node, the machines."""

from typing import Final

import msgspec

__all__ = ["HOURS", "Day", "Limits", "Machines"]

HOURS: Final = 24


class Day(msgspec.Struct, frozen=True):
    """A usual day.

    Attributes:
        mails: mails a day for each account that make a notification.
        logins: logins a day for each account, those that nobody uses included.
        used: share of the accounts that somebody uses on this day.
        by_day: share of the mails and of the logins in the 12 hours from 8 to 20.
        peak: the busiest of these hours, as a multiple of their mean.
        busiest: the hour that it begins with.
        addresses: shares of the accounts with one, two, three and four addresses, among those
            that have a login that counts.
        silent: share of the addresses from which no answer comes.
        storm: seconds in which every account logs in on Monday morning. The rate is a bell: it
            begins and ends with 0, and is twice its mean at its top.
        mailings: seconds in which one mail for each account is delivered, one for each case.
    """

    mails: float = 30.0
    logins: float = 12.0
    used: float = 0.4
    by_day: float = 0.8
    peak: float = 1.5
    busiest: int = 10
    addresses: tuple[float, float, float, float] = (0.65, 0.25, 0.07, 0.03)
    silent: float = 0.3
    storm: float = 3600.0
    mailings: tuple[float, ...] = (3600.0, 600.0)

    @property
    def mean_addresses(self) -> float:
        """Addresses of an account that has one."""
        return sum(share * count for count, share in enumerate(self.addresses, 1))


class Limits(msgspec.Struct, frozen=True):
    """The defaults and bounds of a node.

    Attributes:
        rate: `send.rate`, calls a second.
        burst: seconds of this rate that may come at once.
        connections: `send.connections`, calls at the same time.
        deadline: `send.deadline` in seconds.
        patience: seconds that a silent target may hold its place while others wait.
        interval: `send.interval` in seconds.
        targets: targets that have a state in the sender; one more takes the place of a silent
            one, or its ring is counted as expired.
        ttl: `last_used.ttl` in seconds.
        backoff: the first and the longest seconds without a call to a silent target.
        requests: messages of the sender that wait in the companion; the sender keeps what
            comes then, and rings what it knows itself.
        nodes: nodes of a cluster.
    """

    rate: float = 1000.0
    burst: float = 0.1
    connections: int = 256
    deadline: float = 2.0
    patience: float = 0.3
    interval: float = 2.0
    targets: int = 131_072
    ttl: float = 1800.0
    backoff: tuple[float, float] = (30.0, 600.0)
    requests: int = 4096
    nodes: int = 256

    @property
    def retry_rate(self) -> float:
        """Calls a second to targets that were silent before: half of the places are for them."""
        return self.connections / 2 / self.deadline

    @property
    def first_rate(self) -> float:
        """Calls a second to others while some wait: an eighth of the places are for the silent."""
        return self.rate - self.connections / 8 / self.deadline

    @property
    def first_places(self) -> float:
        """Places of new targets while others wait: an eighth is for the silent, one for proven."""
        return self.connections * 3 / 4

    @property
    def waiting(self) -> float:
        """Targets that can wait for a call; those that rest for `interval` need a state too."""
        return self.targets - self.rate * self.interval

    @property
    def retries(self) -> int:
        """Calls to a silent target after the first one, until its login is too old.

        A mail comes on average in the middle of the time for which a login counts.
        """
        wait, longest = self.backoff
        passed, count = wait, 0
        while passed <= self.ttl / 2:
            count += 1
            wait = min(2 * wait, longest)
            passed += wait
        return count


class Machines(msgspec.Struct, frozen=True):
    """What the cluster is built of.

    Attributes:
        most: the share of each resource that is used in the busiest hour, at most.
        spare: nodes that may die, while the others stay below that share.
        shard_memory: MiB of one engine; Redis Cluster calls it a master.
        answer: seconds until a target that can be reached has answered.
    """

    most: float = 0.6
    spare: int = 1
    shard_memory: float = 8192.0
    answer: float = 0.05
