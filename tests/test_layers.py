"""The house as a table: who may import whom. docs/architecture.md explains it.

Each module stands in exactly one layer and may import from layers below it.
Within a layer it may import what stands before it in the list, so that there
are no circles. The table is data, and a module that is not in it fails.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mailbell

ROOT = Path(mailbell.__file__).parent

LAYERS: tuple[tuple[str, ...], ...] = (
    # 0 vocabulary: the standard library only
    ("__init__", "_errors", "_events"),
    # 1 pure: time, bytes and randomness are arguments
    (
        "_escape",
        "_abi",
        "_wire",
        "_gcra",
        "_limiter",
        "_coalesce",
        "_networks",
        "_config_values",
        "_config_reader",
        "_config",
        "_pace",
        "_presets",
        "_agent_config",
        "_accounts",
        "_stats",
        "_openmetrics",
        "_journal",
        "_switch",
        "_waiting",
        "_hub",
        "_admission",
        "_packet_filter",
        "_sleep",
        "_rtnetlink",
        "_policy",
        "_policy_toml",
        "varlink",
    ),
    # 2 operating system: the only home of ctypes, ids and raw socket options
    ("_sys",),
    # 3 Trio (and the blocking client): the doors of the machine
    ("_listener", "_local_peer", "_service", "client", "agent"),
    # 4 composition
    ("_binding", "_startup", "_daemon"),
    # 5 doors
    ("cli",),
)

ORDER = {
    name: (layer, place) for layer, names in enumerate(LAYERS) for place, name in enumerate(names)
}

# What a pure module would need to stop being one.
IMPURE = {
    "asyncio", "ctypes", "fcntl", "io", "logging", "multiprocessing", "os", "pathlib", "random",
    "resource", "select", "selectors", "secrets", "shutil", "signal", "socket", "ssl", "subprocess",
    "sys", "tempfile", "threading", "time", "trio",
}  # fmt: skip

TREE = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def unit(path: Path) -> str:
    """The row of the table a file belongs to: its folder, or itself."""
    return path.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """All modules a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def used_units(path: Path) -> set[str]:
    own = {name.split(".")[1] for name in imports(path) if name.startswith("mailbell.")}
    # `from mailbell import __version__` names no module.
    return {name for name in own if name in ORDER} - {unit(path)}


@pytest.mark.parametrize("path", TREE, ids=str)
def test_every_file_has_its_place_and_imports_downwards_only(path: Path) -> None:
    assert unit(path) in ORDER, "a new module needs a layer: add it to the table"
    above = {name for name in used_units(path) if ORDER[name] > ORDER[unit(path)]}
    assert not above


def test_the_table_names_no_module_that_is_gone() -> None:
    assert set(ORDER) == {unit(path) for path in TREE}


PURE = [path for path in TREE if ORDER.get(unit(path), (9, 9))[0] <= 1]


@pytest.mark.parametrize("path", PURE, ids=str)
def test_pure_modules_import_nothing_that_acts(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize("path", [p for p in TREE if p.parts[0] not in {"_sys", "cli"}], ids=str)
def test_ctypes_lives_in_one_place(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {"ctypes", "pyseccomp"}


@pytest.mark.parametrize("path", TREE, ids=str)
def test_only_the_daemons_door_reaches_the_daemon(path: Path) -> None:
    if path not in {Path("cli/mailbelld.py"), Path("_daemon.py")}:
        assert not used_units(path) & {"_daemon"}


def modules_after(statement: str) -> set[str]:
    """What is loaded in a fresh interpreter after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["_wire", "_limiter", "_coalesce", "_config", "_policy_toml", "varlink", "client"]
)
def test_what_others_embed_or_fuzz_does_not_load_trio(module: str) -> None:
    assert "trio" not in modules_after(f"import mailbell.{module}")


if __name__ == "__main__":
    # For the Makefile: the files of which every branch must be tested.
    print(",".join(str(ROOT / path) for path in PURE))
