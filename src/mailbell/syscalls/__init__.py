"""A policy of system calls as data: which calls a program may make, and with what. Pure."""
