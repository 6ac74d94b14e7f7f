"""The code that all daemons with sockets share: the accept loop and a local Varlink server."""
