"""The libraries that only a benchmark needs, imported when it does; they come with an extra.

It must not know what they are for.
"""

from __future__ import annotations

import importlib
from typing import Any

from antiphon.errors import ConfigError


def bring(module: str, wanted_for: str = "") -> Any:
    """The module; ConfigError that says what to install, and what it is `wanted_for` if that is not plain."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = module.partition(".")[0]
        told = f"{wanted_for} needs {name}, which" if wanted_for else name
        raise ConfigError(f"{told} is not installed; pip install 'antiphon[bench]' brings it.") from error
