"""`python -m mailbell`: the command line, where its script is not in PATH."""

from mailbell.cli import main

if __name__ == "__main__":
    main()
