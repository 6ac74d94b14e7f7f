"""Says millions of inputs to the real daemons, and compares their counters with models of them."""
