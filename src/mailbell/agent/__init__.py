"""The agent: makes mail programs fetch when the daemon rings.

It is an ordinary program of the person's, without any privilege, and talks to the
daemon through the local socket like any other subscriber. It never looks alive while
it is deaf: whether it hears the daemon is in its log, in the state it tells the
service manager, and in a line at every safety poll.
"""
