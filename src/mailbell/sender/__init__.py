"""mailbell-sender: rings users' machines when a mail server says that mail arrived."""
