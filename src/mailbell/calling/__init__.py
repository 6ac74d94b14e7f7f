"""What the client of every local socket needs: it finds the daemon, trusts it or not, and asks."""
