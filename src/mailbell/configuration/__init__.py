"""Reads TOML strictly, with every mistake at once, and the values that stand in it. Pure."""
