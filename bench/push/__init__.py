"""Pushing mail beside waiting for it with IDLE and beside polling, with a real Dovecot."""
