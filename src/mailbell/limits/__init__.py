"""How often each source may notify: token buckets in tables of a fixed size. Pure."""
