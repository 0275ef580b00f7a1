"""Rewrites OVMS's command line: flags without a meaning for audio are dropped, other spellings become ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from antiphon.errors import ConfigError

_GRPC = "there is no gRPC here"
_TENSORS = "it shapes plain tensor models, and these are speech models"
_LANGUAGE = "it is for language models"

# Each with the reason why it has no effect, and whether it takes a value.
IGNORED: dict[str, tuple[str, bool]] = {
    "port": (f"{_GRPC}, and the HTTP port is --rest_port", True),
    "grpc_bind_address": (_GRPC, True),
    "grpc_workers": (_GRPC, True),
    "grpc_max_threads": (_GRPC, True),
    "grpc_memory_quota": (_GRPC, True),
    "grpc_channel_arguments": (_GRPC, True),
    "batch_size": ("batches grow with the number of concurrent requests, up to --slots", True),
    "nireq": ("requests share one batch, up to --slots", True),
    "shape": (_TENSORS, True),
    "layout": (_TENSORS, True),
    "mean": (_TENSORS, True),
    "scale": (_TENSORS, True),
    "color_format": (_TENSORS, True),
    "model_version_policy": ("there is one version of each model", True),
    "cpu_extension": ("the models need no layers of other libraries", True),
    "stateful": (_TENSORS, False),
    "idle_sequence_cleanup": (_TENSORS, False),
    "low_latency_transformation": (_TENSORS, False),
    "max_sequence_number": (_TENSORS, True),
    "sequence_cleaner_poll_wait_minutes": (_TENSORS, True),
    "custom_node_resources_cleaner_interval_seconds": (_TENSORS, True),
    "trace_path": ("there is no tracing here; --log_level TRACE logs most", True),
    "allowed_local_media_path": (_LANGUAGE, True),
    "allowed_media_domains": (_LANGUAGE, True),
    "verbose_response": (_LANGUAGE, False),
    "disable_input_count_validation": (_TENSORS, False),
    "extra_quantization_params": (_LANGUAGE, True),
    "gguf_filename": (_LANGUAGE, True),
    "source_loras": (_LANGUAGE, True),
}
# In older releases of OVMS these take the path of the config; newer ones have --config_path for it.
_WITH_A_PATH = ("add_to_config", "remove_from_config")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def translate(arguments: Sequence[str], valueless: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the arguments as ours and a note for each that was dropped. `valueless` are the flags without a value."""
    ours: list[str] = []
    notes: list[str] = []
    rest = iter(_split(arguments, valueless))
    following = next(rest, None)
    while following is not None:
        flag, value = following
        following = next(rest, None)
        name = flag.removeprefix("--").replace("-", "_")
        follows = following is not None and not following[0].startswith("--")
        if not flag.startswith("--"):
            ours.append(flag)
        elif name in IGNORED:
            why, takes_value = IGNORED[name]
            notes.append(f"--{name} changes nothing: {why}.")
            if takes_value and value is None and follows:
                following = next(rest, None)
        elif name in _WITH_A_PATH:
            ours.append(flag)
            if value is None and follows:
                assert following is not None
                value, following = following[0], next(rest, None)
            ours += [] if value is None else ["--config_path", value]
        elif name in valueless and value is not None:
            ours += [flag] if _is_true(flag, value) else []
        else:
            ours.append(flag if value is None else f"{flag}={value}")
    return ours, notes


def _is_true(flag: str, value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise ConfigError(
            f"it must be true or false, not {value!r}.", setting=flag.removeprefix("--").replace("-", "_")
        )
    return value.lower() in _TRUE


def _split(arguments: Sequence[str], valueless: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each argument, with the value after its equals sign if it is a flag handled here."""
    split = valueless | IGNORED.keys() | frozenset(_WITH_A_PATH)
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        known = flag.startswith("--") and flag[2:].replace("-", "_") in split
        yield (flag, value) if equals and known else (argument, None)
