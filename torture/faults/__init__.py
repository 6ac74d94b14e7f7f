"""Every system call of the daemons fails, with every error that it may return."""
