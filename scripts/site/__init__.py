"""Builds the site of the documents: `python -m scripts.site [FOLDER]`. `make docs` runs it."""
