"""Ring after a delivery, from a mail server in Python. A delivery never fails because of it.

Usage: python_blocking.py ACCOUNT            mail was delivered to this account
       python_blocking.py ACCOUNT ADDRESS    its owner has looked for mail from this address
"""

import sys

from mailbell.sender_client import Client, MailbellError


def tell(account: str, address: str | None = None) -> None:
    """Tell the sender. An error is logged, and is no reason to defer the mail."""
    # Half a second is much for a local socket, and little for a delivery.
    client = Client(timeout=0.5)
    try:
        if address is None:
            client.ring(account)
        else:
            client.seen(account, address)
    except MailbellError as error:
        print(f"not rung: {error}", file=sys.stderr)


if __name__ == "__main__":
    tell(*sys.argv[1:3])
