"""Locks a program in: any program that brings its policy, its identity and its descriptors.

`mailbell.sandbox.lock` is the order of the irreversible steps, and
`mailbell.sandbox.policy_file` reads the policy that was installed for a program.
"""
