"""Be told of new mail in an ordinary program: one thread, and only `mailbell.client`.

Usage: python_blocking.py [COUNT]     ends after COUNT notifications; without COUNT, never
"""

import sys

from mailbell.client import Client


def main() -> None:
    """Print each notification: its account, and its cause."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else None
    with Client() as client, client.subscribe() as subscription:
        for number, notification in enumerate(subscription, start=1):
            print(f"{notification.account}: {notification.cause}", flush=True)
            if number == count:
                break


if __name__ == "__main__":
    main()
