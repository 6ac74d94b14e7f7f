"""mailbelld and mailbell-sender as services of this machine."""
