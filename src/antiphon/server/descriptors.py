"""How many files and connections this process may have open."""

from __future__ import annotations

import contextlib
import sys

from antiphon.errors import ConfigError

OTHER_DESCRIPTORS = 64  # for files of models, uploads and logs, listening sockets, and connections about to be refused
MAX_DESCRIPTORS = 65_536  # asked for, at most: containers may allow a billion, and macOS says that it has no limit
MAX_CONNECTIONS = 4_096  # by default; an idle one takes 6 kB


def raise_descriptor_limit() -> int | None:
    """Raise the limit of open files to the highest the process may set; returns it. None where there is none (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= highest:
        return None if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(ValueError, OSError):  # macOS may refuse what it says is allowed
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connection_limit(setting: int | None, descriptors: int | None, reserve: int) -> int:
    """The number of connections, besides `reserve` more for health: that of the setting, or what `descriptors` allow.

    ConfigError if the descriptors do not suffice.
    """
    allowed = sys.maxsize if descriptors is None else descriptors - OTHER_DESCRIPTORS - reserve
    connections = min(MAX_CONNECTIONS, max(1, allowed)) if setting is None else setting
    if connections > allowed:
        raise ConfigError(
            f"{connections} connections need a limit of {connections + OTHER_DESCRIPTORS + reserve} open files, and it is "
            f"{descriptors}; raise it (ulimit -n), or allow fewer connections.",
            setting="max_connections",
        )
    return connections
