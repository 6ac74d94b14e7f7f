"""Sends a mail by SMTP: `python3 - SUBJECT [SPAM]`, on a host of the show that has no mailbell.

It ends with an error if the mail server does not take the mail.
"""

import smtplib
import sys

SERVER = "192.0.2.1"


def main(subject: str, mark: str) -> None:
    """Send the mail. `mark` is the header field with which a filter marks spam, or nothing."""
    fields = f"From: tom@example.net\r\nTo: anna@example.org\r\nSubject: {subject}\r\n{mark}"
    text = f"{fields}\r\nHello.\r\n"
    with smtplib.SMTP(SERVER) as client:
        client.sendmail("tom@example.net", ["anna@example.org"], text)


if __name__ == "__main__":
    main(sys.argv[1], "X-Spam-Flag: YES\r\n" if sys.argv[2:] == ["spam"] else "")
