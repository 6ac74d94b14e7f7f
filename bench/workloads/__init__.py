"""The workloads: one module each, with `measure(plan) -> Section`."""
