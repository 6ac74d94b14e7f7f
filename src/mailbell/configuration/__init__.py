"""Reads TOML strictly, reports all mistakes at once, and knows the types of its values. Pure."""
