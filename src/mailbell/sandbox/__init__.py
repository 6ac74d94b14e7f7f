"""Locks any program in. The program brings its policy, its identity and its descriptors.

`mailbell.sandbox.lock` does the irreversible steps in their order.
`mailbell.sandbox.policy_file` reads the policy that was installed for a program.
"""
