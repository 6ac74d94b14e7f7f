"""The fuzz targets of `fuzz/`, a random part of them, for a short time."""
