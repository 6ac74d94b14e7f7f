"""Where this program is installed, and whether a service may be started from there.

The daemon's interpreter is asked, without the variables of the person, as the service manager will
start it. So a source tree in PYTHONPATH, or the packages in a person's home, do not count. It
tells its search path, and the folder of each module that a daemon loads: an editable installation
finds modules in folders that are not in the path.
"""

import json
import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any, Final, NamedTuple

import mailbell
from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.core.escape import printable
from mailbell.installation._programs import run
from mailbell.installation._walk import Fault, is_below, look
from mailbell.installation.service_files import is_plain
from mailbell.installation.services import ALL

__all__ = ["Environment", "find_environment", "remedy_of", "tool_of"]

# A mail server has the package of the second one alone.
_UNITS: Final = tuple(
    f"{folder}/{service.unit}"
    for folder in ("/usr/lib/systemd/system", "/lib/systemd/system")
    for service in ALL
)
_PACKAGED: Final = "/usr/lib/python3/dist-packages"
_SYSTEM: Final = ("/usr", "/usr/local")
_ASK: Final = """\
import json, os, sys
told = {"prefix": sys.prefix, "base": sys.base_prefix, "executable": sys.executable}
try:
    import mailbell
    told["package"] = mailbell.__file__
    import mailbell.listener.daemon, mailbell.sender.daemon, mailbell.sender.resolver
except ImportError as error:
    told["missing"] = str(error)
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
told["places"] = sorted({*sys.path, *(os.path.dirname(file) for file in files if file)})
print(json.dumps(told))
"""

_TOOLS: Final = {
    "pipx": "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install mailbell",
    "uv": (
        "UV_TOOL_DIR=/opt/uv/tools UV_TOOL_BIN_DIR=/usr/local/bin "
        "UV_PYTHON_INSTALL_DIR=/opt/uv/python uv tool install --python {python} mailbell"
    ),
    "pip": "{python} -m venv /opt/mailbell && /opt/mailbell/bin/pip install mailbell",
    "source": "{python} -m venv /opt/mailbell && /opt/mailbell/bin/pip install .",
}
_THEN: Final = {
    "pipx": "/usr/local/bin/mailbell install",
    "uv": "/usr/local/bin/mailbell install",
    "pip": "/opt/mailbell/bin/mailbell install",
    "source": "/opt/mailbell/bin/mailbell install",
}
_SYSTEM_PYTHON: Final = "/usr/bin/python3"


class Environment(NamedTuple):
    """Where mailbell is.

    Attributes:
        programs: the folder of mailbelld and mailbell-sender.
        code: the folders from which a daemon maps code, beside /usr.
        newest: when the last of its files was changed, in seconds since 1970.
        is_package: whether it is from a package of the distribution, with the units.
    """

    programs: str
    code: tuple[str, ...]
    newest: float
    is_package: bool


def find_environment() -> Environment:
    """Find where this program is, and refuse a place that is no good for a service.

    Returns:
        The place.

    Raises:
        ConfigurationError: others may write there, or the service's user may not read it. The
            remedy is for the tool that has installed it.
        OperatingSystemError: the interpreter does not say where it is, or a file cannot be
            looked at.
    """
    told = _ask()
    package = os.path.realpath(told["package"]) if "package" in told else ""
    is_packaged = is_below(package, _PACKAGED)
    if is_packaged and any(os.path.exists(unit) for unit in _UNITS):
        return Environment("/usr/bin", ("/usr",), 0.0, is_package=True)
    if is_packaged:
        what = "the library is from a package of the distribution, and the services are not there"
        raise ConfigurationError(what, "apt-get install mailbell, or mailbell-sender")
    tool = tool_of(told["prefix"])
    if package != os.path.realpath(mailbell.__file__):
        other = f"would run that in {os.path.dirname(package)}" if package else "would find none"
        what = f"this mailbell is in {os.path.dirname(mailbell.__file__)}, and a service {other}"
        raise ConfigurationError(what, remedy_of(tool))
    if "missing" in told:
        what = f"the daemons cannot be started: {printable(told['missing'])}"
        raise ConfigurationError(what, remedy_of(tool))
    return _judged(told, tool)


def _ask() -> Mapping[str, Any]:
    """Ask the interpreter as the service manager starts it."""
    # -P: the current folder is not searched. A script has its own folder there.
    done = run(sys.executable, "-P", "-c", _ASK, environ={"HOME": "/"})
    try:
        told = json.loads(done.said)
    except ValueError:
        told = None
    if done.code or not isinstance(told, dict):
        raise OperatingSystemError(f"{sys.executable} failed: {done.why}", "install mailbell again")
    return told


def _judged(told: Mapping[str, Any], tool: str) -> Environment:
    scripts = sysconfig.get_path("scripts")
    programs = os.path.realpath(scripts)
    prefix, base = (os.path.realpath(told[name]) for name in ("prefix", "base"))
    places = [os.path.realpath(path) for path in told["places"] if os.path.exists(path)]
    interpreter = os.path.realpath(told["executable"])
    homes = [each for each in dict.fromkeys((prefix, base)) if each not in _SYSTEM]
    roots = _outermost([*homes, *places, interpreter, _place_of(programs, homes)])
    try:
        named = [scripts, *(told[name] for name in ("prefix", "base", "executable"))]
        found = look(roots, [*named, *filter(None, told["places"])])
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        raise OperatingSystemError(what, remedy_of(tool)) from error
    if found.fault:
        raise ConfigurationError(_explained(found.fault), _remedy(found.fault, prefix, tool))
    others = [each for each in roots if not is_below(each, "/usr")]
    code = _outermost([*homes, *(each for each in others if os.path.isdir(each))])
    for folder in (programs, *code):
        if not is_plain(folder):
            shown = printable(folder)
            what = f"the folder {shown} has characters that systemd or AppArmor would misread"
            raise ConfigurationError(what, remedy_of(tool))
    if base in _SYSTEM[1:]:
        code = [*code, base]
    return Environment(programs, tuple(code), found.newest, is_package=False)


def _place_of(programs: str, homes: Sequence[str]) -> str:
    """Return the folder of the programs, or one program if the folder is one of the system's."""
    if any(is_below(programs, home) for home in homes):
        return programs
    return os.path.join(programs, "mailbelld")


def _outermost(paths: Sequence[str]) -> list[str]:
    """Leave out what is in another of the folders."""
    unique = list(dict.fromkeys(paths))
    return [
        path for path in unique if not any(is_below(path, each) for each in unique if each != path)
    ]


def _explained(fault: Fault) -> str:
    if fault.kind in {"owner", "write", "missing"}:
        return f"{fault}, who could change what the service does"
    return str(fault)


def _remedy(fault: Fault, prefix: str, tool: str) -> str:
    """Say what to do about a fault: change permissions, or install it in another place."""
    if fault.kind == "write":
        return f"chmod -R go-w {prefix if is_below(fault.path, prefix) else fault.path}"
    if fault.kind == "read" and is_below(fault.path, prefix):
        return f"chmod -R go+rX {prefix}"
    if fault.kind == "missing" and os.path.islink(fault.path):
        return f"rm {fault.path}"
    if fault.kind == "missing":
        return f"take the names of such folders out of {fault.path}"
    return remedy_of(tool)


def remedy_of(tool: str) -> str:
    """Say how root installs mailbell where a service may use it.

    Args:
        tool: as `tool_of` returns it.

    Returns:
        A command line, and what to do after it.
    """
    python = _SYSTEM_PYTHON if os.path.exists(_SYSTEM_PYTHON) else "3.13"
    if python != _SYSTEM_PYTHON and tool != "uv":
        python = "python3"
    return f"as root: {_TOOLS[tool].format(python=python)}; then: {_THEN[tool]}"


def tool_of(prefix: str) -> str:
    """Tell which tool has made an environment.

    Args:
        prefix: the folder of the environment.

    Returns:
        "pipx", "uv", "source" (an editable installation, or no installation), or "pip".
    """
    if os.path.exists(os.path.join(prefix, "pipx_metadata.json")):
        return "pipx"
    if os.path.exists(os.path.join(prefix, "uv-receipt.toml")):
        return "uv"
    with suppress(metadata.PackageNotFoundError, OSError, ValueError):
        text = metadata.distribution("mailbell").read_text("direct_url.json")
        told = json.loads(text) if text else {}
        return "source" if told.get("dir_info", {}).get("editable") else "pip"
    return "source"
