"""What all programs share: the protocol, notifications, addresses, errors. Pure."""
