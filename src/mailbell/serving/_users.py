"""How many connections and calls each user may make, and who of a user is next.

A user over its limit waits in turn. So a program that calls in a loop is slowed down, and it
does not keep the user's other programs out: the next token is for the one that has waited
longest. Only a few may wait for each user; more are refused.

A user may have thousands of numbers: subuid(5) gives each user of a machine 65,536 for its
user namespaces. So all users with such numbers, the crowd, share one more limit, and wait in
one queue.
"""

from collections import deque
from typing import Final, NoReturn

import trio

from mailbell.limits.gcra import Bucket, BucketTable

__all__ = ["CROWD", "CROWD_SHARE", "Users"]

CROWD: Final = 1 << 16
"""Numbers of users from here on: subordinate ones, and those of directory servers."""
CROWD_SHARE: Final = 4
"""How many users the crowd counts as, so that one of them cannot use up its limit."""

USERS: Final = 256  # users that are counted; above it the least busy is forgotten
PAUSE: Final = 0.01  # seconds between two looks for new tokens, while somebody waits


class Users:
    """The limits of all users of one socket.

    Args:
        rate: connections and calls a second, for each user.
        burst: how many a user may make at once.
        waiting: how many of one user may wait for their turn.
    """

    def __init__(self, rate: float, burst: int, waiting: int) -> None:
        self._waiting = waiting
        # The keys are user ids. They are no secret and the kernel gives them, so the table
        # needs no secret seed.
        self._table = BucketTable(0, USERS, 1, rate, burst)
        self._crowd = Bucket(CROWD_SHARE * rate, CROWD_SHARE * burst)
        self._queues: dict[int, deque[tuple[int, trio.Event]]] = {}
        self._somebody = trio.Event()

    def is_full(self, uid: int) -> bool:
        """Tell whether no more connection or call of a user may wait.

        Args:
            uid: the user.
        """
        return len(self._queues.get(min(uid, CROWD), ())) >= self._waiting

    async def wait(self, uid: int) -> None:
        """Take one connection or call from what a user may do, in turn.

        Args:
            uid: the user. The caller has asked `is_full`.
        """
        whose = min(uid, CROWD)
        if whose not in self._queues and self._take(uid):
            return
        queue = self._queues.setdefault(whose, deque())
        turn = trio.Event()
        queue.append((uid, turn))
        self._somebody.set()
        try:
            await turn.wait()
        finally:
            if not turn.is_set():
                queue.remove((uid, turn))

    async def serve(self) -> NoReturn:
        """Give new tokens to those that wait."""
        while True:
            await self._somebody.wait()
            for whose, queue in list(self._queues.items()):
                while queue and self._take(queue[0][0]):
                    queue.popleft()[1].set()
                if not queue:
                    del self._queues[whose]
            if self._queues:
                await trio.sleep(PAUSE)
            else:
                self._somebody = trio.Event()

    def _take(self, uid: int) -> bool:
        now = trio.current_time()
        if not self._table.test(uid, now):
            return False
        if uid >= CROWD and not self._crowd.take(now):
            return False
        self._table.commit(now)
        return True
