"""The contract of each local socket: its text, its types, its methods. Pure."""
