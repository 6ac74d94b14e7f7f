"""mailbelld: listens for notifications, locked in, and tells the local subscribers."""
