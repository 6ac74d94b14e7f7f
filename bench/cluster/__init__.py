"""A cluster of mailbell-senders, simulated with the measured costs of one node and one engine."""
