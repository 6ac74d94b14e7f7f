"""What every program speaks of: the protocol, notifications, addresses, errors. Pure."""
