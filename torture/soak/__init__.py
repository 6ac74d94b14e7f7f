"""The soak: all programs under a mixed load for hours, and whether anything of theirs drifts."""
