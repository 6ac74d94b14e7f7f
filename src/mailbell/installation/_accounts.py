"""The user and the group of a service, and the persons in the group."""

import grp
import os
import pwd
from contextlib import suppress
from typing import Final

from mailbell.core.errors import ConfigurationError, UsageError
from mailbell.core.escape import printable
from mailbell.installation._programs import run, run_or_fail
from mailbell.installation.services import Service

__all__ = ["AccountStep", "PersonStep", "is_ours", "remove_account"]

_FIRST_PERSON: Final = 1000  # login.defs(5): the numbers below are of the system
_NO_SHELL: Final = frozenset({"nologin", "false"})
_ADDUSER: Final = "see why: systemd-sysusers"


def _user(name: str) -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def _group(name: str) -> grp.struct_group | None:
    with suppress(KeyError):
        return grp.getgrnam(name)
    return None


def is_ours(service: Service) -> bool:
    """Tell whether the service's user is the one that sysusers.d makes.

    Args:
        service: the service.

    Returns:
        Whether it is a user of the system, with the comment of ours, who cannot log in.
    """
    user = _user(service.user)
    return (
        user is not None
        and 0 < user.pw_uid < _FIRST_PERSON
        and user.pw_gecos == service.about
        and os.path.basename(user.pw_shell) in _NO_SHELL
    )


def remove_account(service: Service) -> None:
    """Remove the user and the group of a service. Its processes have ended.

    Args:
        service: the service.

    Raises:
        OperatingSystemError: they cannot be removed.
    """
    if _user(service.user):
        run_or_fail("userdel", service.user, remedy="end its processes, and try again")
    group = _group(service.user)  # userdel(8) leaves a group with other members
    if group is not None and 0 < group.gr_gid < _FIRST_PERSON:
        remedy = f"give its users another first group, as with usermod --gid users NAME, then: \
groupdel {service.user}"
        run_or_fail("groupdel", service.user, remedy=remedy)


class AccountStep:
    """The user and the group, from the file in sysusers.d.

    Args:
        service: the service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._user_is_made = False
        self._group_is_made = False
        self._group_before: grp.struct_group | None = None

    @property
    def what(self) -> str:
        """The step as the person is told."""
        return f"make the user and the group {self._service.user}"

    @property
    def there(self) -> str:
        """The same, if nothing must be done."""
        return f"the user and the group {self._service.user} exist already"

    def check(self) -> None:
        """Refuse a user or a group of persons: the service would have all their rights."""
        user = _user(self._service.user)
        if user is not None and not 0 < user.pw_uid < _FIRST_PERSON:
            what = f"the user {user.pw_name} (number {user.pw_uid}) is not one of the system"
            raise ConfigurationError(
                what, f"give that person another name: usermod --login NEW {user.pw_name}"
            )
        if user is not None and not 0 < user.pw_gid < _FIRST_PERSON:
            what = f"the user {user.pw_name} is in the group {user.pw_gid}, not one of the system"
            raise ConfigurationError(what, f"usermod --gid {user.pw_name} {user.pw_name}")
        group = _group(self._service.user)
        if group is not None and not 0 < group.gr_gid < _FIRST_PERSON:
            # systemd-sysusers would give the user the number of the group.
            what = f"the group {group.gr_name} (number {group.gr_gid}) is not one of the system"
            raise ConfigurationError(what, f"groupmod --new-name NEW {group.gr_name}")

    def is_done(self) -> bool:
        """Tell whether both exist."""
        return _user(self._service.user) is not None and _group(self._service.user) is not None

    def do(self) -> None:
        """Make them."""
        self._group_before = _group(self._service.user)
        self._group_is_made = self._group_before is None
        self._user_is_made = _user(self._service.user) is None
        run_or_fail("systemd-sysusers", self._service.accounts, remedy=_ADDUSER)

    def undo(self) -> None:
        """Remove what was made of them. A group that was there stays, with its members."""
        name, before = self._service.user, self._group_before
        if self._user_is_made and _user(name):
            run_or_fail("userdel", name, remedy=f"userdel {name}")
        if self._group_is_made and _group(name):
            run_or_fail("groupdel", name, remedy=f"groupdel {name}")
        if before is not None and _group(name) is None:  # userdel(8) removes an empty one
            number = str(before.gr_gid)
            run_or_fail("groupadd", "--gid", number, name, remedy=f"groupadd --gid {number} {name}")


class PersonStep:
    """A person in the group of a service.

    Args:
        name: of the person.
        service: the service.
    """

    def __init__(self, name: str, service: Service) -> None:
        self._name = name
        self._group = service.user
        self._is_added = False

    @property
    def what(self) -> str:
        """The step as the person is told."""
        return f"put {self._name} into the group {self._group}"

    @property
    def there(self) -> str:
        """The same, if nothing must be done."""
        return f"{self._name} is in the group {self._group} already"

    def check(self) -> None:
        """Refuse a person whom this machine does not have."""
        with suppress(ValueError):  # a NUL, or a surrogate
            if _user(self._name) and not self._name.startswith("-"):
                return
        what = f"there is no user {printable(self._name)[:80]}"
        raise UsageError(what, "name one whom 'getent passwd' shows")

    def is_done(self) -> bool:
        """Tell whether the person is in the group."""
        group = _group(self._group)
        return group is not None and self._name in group.gr_mem

    def do(self) -> None:
        """Put the person into the group."""
        remedy = f"usermod --append --groups {self._group} {self._name}"
        self._is_added = True
        run_or_fail("gpasswd", "--add", self._name, self._group, remedy=remedy)

    def undo(self) -> None:
        """Take the person out of the group."""
        if self._is_added and self.is_done():
            run("gpasswd", "--delete", self._name, self._group)
