"""What somebody might write instead of the daemon, in a few lines each."""
