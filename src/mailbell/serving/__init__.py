"""What every daemon that accepts connections shares: the server of a local Varlink socket."""
