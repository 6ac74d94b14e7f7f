"""Compiles the policy and writes the program to standard output: a script.

For an interpreter of another architecture. It runs in an emulator of processes, which has no
seccomp(2) to ask. `test_program` starts it.

    export.py POLICY NAME=NUMBER ...
    export.py POLICY NAME=(NUMBER, NUMBER) ...
"""

import ast
import sys
from pathlib import Path

import pyseccomp

from mailbell._sys import seccomp
from mailbell.syscalls.policy_toml import parse

# seccomp_api_get(3): all that libseccomp 2.5 knows, as on Linux 5.7 and later.
NEWEST_API = 6


def main() -> None:
    path, *placeholders = sys.argv[1:]
    values = {
        name: ast.literal_eval(meant)
        for name, _, meant in (one.partition("=") for one in placeholders)
    }
    pyseccomp.set_api(NEWEST_API)
    policy = parse(Path(path).read_bytes()).bind(values)
    sys.stdout.buffer.write(seccomp.compile_policy(policy).program)


if __name__ == "__main__":
    main()
