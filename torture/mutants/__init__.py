"""Changes one thing in the code and looks whether a test fails: `python -m torture.mutants`."""
