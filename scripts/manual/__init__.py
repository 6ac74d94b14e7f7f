"""Writes the manual pages from the programs' own help and from the documents.

`python -m scripts.manual --write` writes man/, and a test compares the two. The wheel and Debian's
packages have these files as they are.
"""
