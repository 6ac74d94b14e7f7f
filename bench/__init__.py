"""The benchmarks, and the reference programs they compare with."""
