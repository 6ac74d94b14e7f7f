"""The log: one line for each event, escaped and limited in rate. Pure."""
