"""The boundary to the operating system.

Only this package uses ctypes, user and group ids and raw socket options. It does not
know Trio. A step that cannot be undone is verified: the code tries to undo it.
"""
