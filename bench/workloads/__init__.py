"""What is measured: one workload a module, each with `measure(plan) -> Section`."""
