"""kill -9 of each program at random moments, alone and together, under load: no look is lost."""
