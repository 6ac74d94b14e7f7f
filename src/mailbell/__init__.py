"""mailbell: a hardened listener for RFC 4146, Simple New Mail Notification.

Public to other programs: `mailbell.client`. Modules whose name begins with an
underscore are the project's own and may change with any release.
"""

__version__ = "0.1.0"
