"""What every daemon that serves sockets shares: the loop that takes, and a local Varlink server."""
