"""All floods at once, from other hosts and on the local socket, while good senders ring."""
