"""How what is wrong with a command line is told: on one line that names the flag as it was typed.

It knows arguments and messages; it must not know what a command does. It is imported when something is wrong, and not before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from antiphon.errors import AntiphonError, RequestError
from antiphon.settings import right_of


def tell(error: AntiphonError, arguments: Sequence[str]) -> str:
    """The error's message, with the flag that was at fault, if one was.

    A request's field is the flag of the same name here; what a flag's value begins, its flag begins; and a device, or
    what goes by a flag's other name, is the flag with that value.
    """
    message = str(error)
    param = error.param if isinstance(error, RequestError) else None
    typed = tuple(_typed(arguments))
    said = re.match(r"(--[\w-]+|device) ", message)
    strange = said is not None and said[1].replace("_", "-") not in {f"--{_plain(flag)}" for flag, _ in typed}
    for flag, value in typed:
        if param is not None and _plain(flag) == _plain(param):
            own = message.startswith(f"{param} ")
            message = flag + message.removeprefix(param) if own else f"{flag}: {message}"
        elif value and message.startswith(f"{value}: "):
            message = f"{flag} {message}"
        elif value and said is not None and strange and message.startswith(f"{said[0]}{value}: "):
            message = f"{flag} {message.removeprefix(said[0])}"
        else:
            continue
        break
    return _as_typed(message, arguments)


def tell_usage(error: Any, arguments: Sequence[str]) -> str:
    """The same of a command that cannot be understood; `error` is typer's, which quotes pydantic in it."""
    message = " ".join(error.format_message().split()).rstrip(".")
    cause, named = error.__cause__, re.match("Invalid value for '(.+?)': ", message)
    if isinstance(cause, ValidationError) and named is not None:
        wrong = cause.errors()[0]
        names = {_plain(name) for name in (*error.param.opts, named[1])}
        flag = next((flag for flag, _ in _typed(arguments) if _plain(flag) in names), named[1])
        message = f"{flag} is {wrong['input']!r}: {right_of(wrong)}"
    command = error.ctx.command_path if error.ctx else "antiphon"
    return f"{_as_typed(message, arguments)}. See {command} --help."


def _typed(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each flag as it was typed, with what stands behind its equals sign, or else comes next."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        if argument == "--":
            return
        if flag.startswith("--"):
            yield flag, value if equals else following


def _plain(name: str) -> str:
    return name.removeprefix("--").replace("_", "-")


def _as_typed(message: str, arguments: Sequence[str]) -> str:
    """With every flag that was typed spelt as it was: hyphens and underscores are the same to us, not to somebody's eyes."""
    for flag, _ in _typed(arguments):
        either = re.sub(r"[-_]", "[-_]", re.escape(_plain(flag)).replace(r"\-", "-"))
        message = re.sub(rf"--{either}(?![\w-])", flag.replace("\\", r"\\"), message)
    return message
