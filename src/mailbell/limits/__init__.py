"""Who may ring how often: token buckets for each source, in tables of a fixed size. Pure."""
