"""The boundary to the operating system.

The only home of ctypes, user and group ids and raw socket options. Nothing in
here knows Trio, and whatever cannot be undone is verified by trying to.
"""
