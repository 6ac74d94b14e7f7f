"""Several senders as one: which node rings which target, and what the nodes tell each other."""
