"""Simple programs that could be used instead of the daemon, in a few lines each."""
