"""Where the person's files are, and the message without a home folder."""

from collections.abc import Callable, Mapping

import pytest

from mailbell.agent.folders import configuration_folder, state_folder
from mailbell.core.errors import ConfigurationError

Find = Callable[[Mapping[str, str]], str]


@pytest.mark.parametrize(
    "more",
    [{}, {"XDG_RUNTIME_DIR": "/run/user/1"}, {"XDG_STATE_HOME": "/x", "XDG_CACHE_HOME": "/y"}],
)
def test_all_agents_of_a_person_find_the_same_folder_for_locks(more: dict[str, str]) -> None:
    """Cron starts an agent before a login, or a shell of a session does."""
    environ = {"HOME": "/home/someone", **more}
    assert state_folder(environ) == "/home/someone/.local/state/mailbell"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/someone"}, "/home/someone/.config"),
        ({"HOME": "/home/someone/", "XDG_CONFIG_HOME": ""}, "/home/someone/.config"),
        ({"HOME": "/home/someone", "XDG_CONFIG_HOME": "relative"}, "/home/someone/.config"),
        ({"HOME": "/home/someone", "XDG_CONFIG_HOME": "/etc/xdg"}, "/etc/xdg"),
        ({"XDG_CONFIG_HOME": "/etc/xdg"}, "/etc/xdg"),
        ({"HOME": "/"}, "/.config"),
    ],
)
def test_xdg_decides_where_the_configuration_is(environ: dict[str, str], folder: str) -> None:
    assert configuration_folder(environ) == folder


@pytest.mark.parametrize("find", [state_folder, configuration_folder])
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "HOME is not set; set it"),
        ({"HOME": ""}, "HOME is not set; set it"),
        ({"HOME": "relative"}, "HOME='relative' is no absolute path; set it"),
        ({"HOME": "~"}, "HOME='~' is no absolute path; set it"),
        ({"HOME": "\udcff"}, r"HOME='\udcff' is no absolute path; set it"),
    ],
)
def test_without_a_home_there_is_none(find: Find, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find(environ)
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 78
