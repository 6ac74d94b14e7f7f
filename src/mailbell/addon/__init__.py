"""The add-on for Thunderbird: how its file is built, and where on a machine it is put."""
