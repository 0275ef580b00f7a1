"""Reads and writes config.json, which lists the models to serve, and finds the model folders of a repository."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError
from antiphon.repository.atomic_folder import locked
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, render_graph

CONFIG = "config.json"
MODELS, GRAPHS = "model_config_list", "mediapipe_config_list"
TAKEN = "Model with the same name already exists."  # OVMS's words

# The keys that OVMS's schema allows in an entry of each list; those without a meaning for audio are accepted and ignored.
_OF_A_GRAPH = frozenset({"name", "base_path", "graph_path", "subconfig", "group_name"})
_OF_A_TENSOR = frozenset({"batch_size", "shape", "layout", "model_version_policy", "custom_loader_options"})
_OF_A_MODEL = _OF_A_GRAPH | _OF_A_TENSOR | {"nireq", "allow_cache", "target_device", "plugin_config"}
# At the top of the file.
_TOP = frozenset({MODELS, GRAPHS, "monitoring", "idle_unload_timeout_seconds"})
# Lists that cannot hold audio models; accepted if empty.
_OTHER_LISTS = frozenset({"custom_loader_config_list", "pipeline_config_list", "custom_node_library_config_list"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of a repository: the name that requests use, its folder, and its graph.pbtxt if it has one.

    `target_device` and `plugin_config` come from config.json itself and override those of the graph.
    """

    name: str
    folder: Path
    graph: Path | None
    target_device: str | None = None
    plugin_config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The `monitoring` block: whether metrics are enabled, and their names; no names means the default set."""

    enable: bool
    names: tuple[str, ...] = ()


def read_repository(config: Path) -> tuple[Entry, ...]:
    """Return the entries of a config.json, in order. Raises ConfigError naming the file, the entry and the key at fault.

    A missing model folder is an error only when the model is loaded, so that the other models are still served.
    """
    content = _read(config)
    _monitoring(config, content)  # validated on each read, although it is used only at start
    entries: dict[str, Entry] = {}
    for where, item, allowed in _items(config, content):
        entry = _entry(config, where, item, allowed)
        if entry.name in entries:
            raise ConfigError(f"{config}: {where} repeats the name {entry.name!r}; names must be unique.")
        entries[entry.name] = entry
    return tuple(entries.values())


def read_monitoring(config: Path) -> Monitoring | None:
    """Return the `monitoring` block of a config.json, if any. Raises ConfigError naming the file and the key at fault."""
    return _monitoring(config, _read(config))


def add_entry(
    config: Path,
    name: str,
    folder: Path,
    *,
    target_device: str | None = None,
    plugin_config: Mapping[str, object] | None = None,
) -> None:
    """Add a model to a config.json, which is created if missing. Raises ConfigError if the name is taken.

    `target_device` and `plugin_config` override those of the model's graph.pbtxt.
    """
    entry: dict[str, object] = {"name": name, "base_path": _written(config, folder)}
    entry |= {"target_device": target_device} if target_device else {}
    entry |= {"plugin_config": dict(plugin_config)} if plugin_config else {}
    if not name:
        raise ConfigError("a model needs a name.", setting="model_name")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder.", setting="model_path")
    with _writing(config):
        content = _read(config) if config.exists() else {MODELS: []}
        if any(_name_of(item) == name for _, item, _ in _items(config, content)):
            raise ConfigError(f"Could not add model to configuration file {config}. {TAKEN} Its name: {name}.")
        content.setdefault(MODELS, []).append({"config": entry})
        write_whole(config, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def remove_entry(config: Path, name: str) -> None:
    """Remove a model from a config.json; its files stay. Raises ConfigError if it is not listed."""
    with _writing(config):
        content = _read(config)
        names = [_name_of(item) for _, item, _ in _items(config, content)]
        if name not in names:
            raise ConfigError(f"{config}: no model named {name!r}; it has {', '.join(map(str, names)) or 'none'}.")
        if MODELS in content:
            content[MODELS] = [item for item in content[MODELS] if _name_of(item["config"]) != name]
        if GRAPHS in content:
            content[GRAPHS] = [item for item in content[GRAPHS] if _name_of(item) != name]
        write_whole(config, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def list_models(repository: Path) -> tuple[str, ...]:
    """Return the names of all models under a folder, such as "openai/whisper-tiny", listed in a config.json or not."""
    if not repository.is_dir():
        raise ConfigError(f"{repository}: no such folder; create it, or name another.", setting="model_repository_path")
    try:
        return tuple(sorted(_models_under(repository, repository)))
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be read ({error.strerror}).", setting="model_repository_path"
        ) from error


def find_config(path: Path) -> Path:
    """Return the config.json in a folder, or the path itself if it is a file."""
    return path / CONFIG if path.is_dir() else path


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model: a graph.pbtxt, or weights and a config.json."""
    return (folder / GRAPH).is_file() or ((folder / CONFIG).is_file() and has_weights(folder))


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights in a format that is served: safetensors, OpenVINO IR or CTranslate2."""
    return any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "openvino_*.xml", "model.bin"))


def write_graph(folder: Path, graph: GraphFile) -> None:
    """Write a folder's graph.pbtxt. Raises ConfigError if it cannot be written."""
    path = folder / GRAPH
    try:
        write_whole(path, render_graph(graph))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}).") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: a server that polls it never sees a part of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            # The mode of the old file, or of an ordinary new one; a temporary file can be read by its owner only.
            Path(file.name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _models_under(folder: Path, repository: Path) -> Iterator[str]:
    for child in sorted(folder.iterdir()):
        if not child.is_dir() or child.name.startswith("."):  # hidden: an unfinished pull or export
            continue
        if is_model(child):
            yield child.relative_to(repository).as_posix()
        else:
            yield from _models_under(child, repository)


def _entry(config: Path, where: str, item: Mapping[str, Any], allowed: frozenset[str]) -> Entry:
    for key in item:
        if key not in allowed:
            known = ", ".join(sorted(allowed))
            raise ConfigError(f"{_place(config, key)}: {where} has the unknown key {key!r}; known: {known}.")
    name = _text(config, where, item, "name")
    if not name:
        raise ConfigError(f"{config}: {where} has no name.")
    base = _text(config, where, item, "base_path") or (name if allowed is _OF_A_GRAPH else None)
    if base is None:
        raise ConfigError(f"{config}: {where} ({name}) has no base_path.")
    folder = (config.parent / base).resolve()
    given = _text(config, where, item, "graph_path")
    graph = folder / (given or GRAPH)
    device = _text(config, where, item, "target_device")
    plugin_config = item.get("plugin_config") or {}
    if not isinstance(plugin_config, dict):
        raise ConfigError(f'{config}: {where} ({name}): plugin_config is not an object such as {{"NUM_STREAMS": 1}}.')
    return Entry(name, folder, graph if given or graph.is_file() else None, device, plugin_config)


def _monitoring(config: Path, content: Mapping[str, Any]) -> Monitoring | None:
    if "monitoring" not in content:
        return None
    metrics = _object(config, "monitoring", content["monitoring"], ("metrics",)).get("metrics")
    settings = _object(config, "monitoring.metrics", metrics, ("enable", "metrics_list"))
    enable, names = settings.get("enable"), settings.get("metrics_list")
    if not isinstance(enable, bool):
        raise ConfigError(f"{config}: monitoring.metrics.enable is {enable!r}; write true or false.")
    if names is not None and not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ConfigError(
            f"{config}: monitoring.metrics.metrics_list is not a list of names; leave it out for the default set."
        )
    return Monitoring(enable, tuple(names or ()))


def _object(config: Path, where: str, value: object, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{config}: {where} is not an object with {' and '.join(keys)}.")
    for key in value:
        if key not in keys:
            raise ConfigError(f"{_place(config, key)}: {where} has the unknown key {key!r}; known: {', '.join(keys)}.")
    return value


def _items(config: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], frozenset[str]]]:
    """Yield each entry with a description of its place and the keys it may have."""
    for key in content:
        if key in _OTHER_LISTS and not content[key]:
            continue
        if key not in _TOP:
            raise ConfigError(f"{_place(config, key)}: unknown key {key!r}; known: {', '.join(sorted(_TOP))}.")
    for key, allowed in ((MODELS, _OF_A_MODEL), (GRAPHS, _OF_A_GRAPH)):
        listed = content.get(key, [])
        if not isinstance(listed, list):
            raise ConfigError(f"{config}: {key} is not a list.")
        for number, item in enumerate(listed, start=1):
            where = f"entry {number} of {key}"
            if key == MODELS:
                if not isinstance(item, dict) or set(item) != {"config"}:
                    raise ConfigError(f'{config}: {where} is not of the shape {{"config": {{"name": …}}}}.')
                item = item["config"]
            if not isinstance(item, dict):
                raise ConfigError(f"{config}: {where} is not an object.")
            yield where, item, allowed


def _text(config: Path, where: str, item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{config}: {where}: {key} is {value!r}, not a string.")
    return value


def _place(config: Path, key: str) -> str:
    """The file and the line of an unknown key."""
    lines = config.read_text("utf-8").splitlines()
    number = next((number for number, line in enumerate(lines, start=1) if json.dumps(key) in line), None)
    return f"{config}, line {number}" if number else str(config)


def _name_of(item: Mapping[str, Any]) -> object:
    return item.get("name")


def _written(config: Path, folder: Path) -> str:
    """The path as written to the config: relative to the config's folder if inside it, so that both can move together."""
    home, target = config.parent.resolve(), folder.resolve()
    return target.relative_to(home).as_posix() if target.is_relative_to(home) else str(target)


def _read(config: Path) -> dict[str, Any]:
    try:
        content = json.loads(config.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{config}: Config file not found or cannot open ({error.strerror}); add_to_config creates it."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{config}: not valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{config}: not a JSON object with {MODELS}.")
    return content


@contextmanager
def _writing(config: Path) -> Iterator[None]:
    """Let one process at a time read, change and write the file; otherwise one of two additions could be lost."""
    try:
        with locked(config):
            yield
    except OSError as error:
        raise ConfigError(f"{config}: cannot be written ({error.strerror}).") from error
