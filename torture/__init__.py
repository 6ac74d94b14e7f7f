"""What mailbell is put through: faults, kills, floods, inputs, mutants, and hours of work."""
