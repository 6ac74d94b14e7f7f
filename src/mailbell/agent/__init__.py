"""The agent makes mail programs fetch when the daemon rings.

It is an ordinary program that a person runs without any privilege. It talks to the
daemon through the local socket, as any other subscriber. An agent that does not hear the
daemon always says so: in its log, in the status for the service manager, and in a line at
each poll.
"""
