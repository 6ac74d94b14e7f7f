"""A policy of system calls as data: which calls a program may make, with which arguments. Pure."""
