"""The names of the interfaces we serve."""

__all__ = ["LISTENER", "SERVICE"]

SERVICE = "org.varlink.service"
LISTENER = "org.mailbell.Listener"
