"""Environment variables: the prefix of the settings, OVMS's own variables, and those that Kubernetes sets."""

from __future__ import annotations

import os
import re

from antiphon.types.audio import SAMPLE_RATE

PREFIX = "ANTIPHON_"
# OVMS's own variables, used where neither a flag nor an ANTIPHON_ variable is set.
REPOSITORY_VARIABLE = "OVMS_MODEL_REPOSITORY_PATH"
KEY_VARIABLE = "API_KEY"
AUDIO_VARIABLE = "OVMS_AUDIO_MAX_FILE_SIZE_BYTES"  # of the decoded audio, not of the file

OUR_KEY_VARIABLE = f"{PREFIX}API_KEY"  # no setting: a flag would show the key in the list of processes

# With a Service called antiphon (or antiphon-anything), Kubernetes sets these in every pod: ANTIPHON_SERVICE_HOST,
# ANTIPHON_SERVICE_PORT_HTTP, ANTIPHON_PORT=tcp://10.0.0.1:8000, ANTIPHON_PORT_8000_TCP_ADDR. They are not settings.
_KUBERNETES = re.compile(
    r"(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT=(tcp|udp|sctp)://.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*)"
)


def with_ovms_variables(flags: dict[str, object]) -> dict[str, object]:
    """Add the values of OVMS's own variables for settings that neither a flag nor an ANTIPHON_ variable sets.

    OVMS_AUDIO_MAX_FILE_SIZE_BYTES limits the size of the audio as float32 at 16 kHz, so it becomes max_audio_seconds. As in
    OVMS, a value that is not a positive integer is ignored.
    """
    ours = {name.upper() for name in os.environ}

    def is_set(*names: str) -> bool:
        return any(name in flags or f"{PREFIX}{name.upper()}" in ours for name in names)

    defaults: dict[str, object] = {}
    repository = os.environ.get(REPOSITORY_VARIABLE)
    if repository and not is_set("model_path", "config_path", "model_repository_path", "remove_from_config"):
        defaults["model_repository_path"] = repository
    size = os.environ.get(AUDIO_VARIABLE, "").strip()
    if size.isdecimal() and int(size) and not is_set("max_audio_seconds"):
        defaults["max_audio_seconds"] = int(size) / (4 * SAMPLE_RATE)
    return flags | defaults


def is_from_kubernetes(name: str) -> bool:
    """Whether a variable with our prefix is one that Kubernetes sets for a Service of our name."""
    return _KUBERNETES.fullmatch(f"{name.removeprefix(PREFIX)}={os.environ[name]}") is not None


def api_key_variable() -> tuple[str, str] | None:
    """The variable that holds the API key and its value: ANTIPHON_API_KEY, else OVMS's API_KEY."""
    values = ((name, os.environ.get(name, "").strip()) for name in (OUR_KEY_VARIABLE, KEY_VARIABLE))
    return next(((name, value) for name, value in values if value), None)
