"""The log: one line an event, escaped, and limited in rate. Pure."""
