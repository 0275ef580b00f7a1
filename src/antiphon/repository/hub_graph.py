"""The graph.pbtxt of a repository on the hub, which is not trusted: what is taken from it.

Its paths stay in its folder, and only properties about speed and precision are taken: others name folders and files to write
and read, such as CACHE_DIR. The config.json and graph.pbtxt that an operator writes are not restricted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from antiphon.errors import ConfigError
from antiphon.repository.config_json import write_graph
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, read_graph
from antiphon.types.options import Report

PROPERTIES = frozenset(
    {
        "DYNAMIC_QUANTIZATION_GROUP_SIZE",
        "ENABLE_CPU_PINNING",
        "ENABLE_HYPER_THREADING",
        "EXECUTION_MODE_HINT",
        "INFERENCE_NUM_THREADS",
        "INFERENCE_PRECISION_HINT",
        "KV_CACHE_PRECISION",
        "NUM_STREAMS",
        "PERFORMANCE_HINT",
        "PERFORMANCE_HINT_NUM_REQUESTS",
        "SCHEDULING_CORE_TYPE",
    }
)


def read_hub_graph(path: Path, report: Report) -> GraphFile:
    """The graph in a file of the hub, without the properties that are not taken.

    Raises ConfigError if it cannot be read, or if one of its paths leaves its folder.
    """
    graph = read_graph(path)
    for inside in (graph.models_path, *(file for _, file in graph.voices)):
        if not _stays_inside(inside):
            raise ConfigError(
                f"{path}: {inside} is not in the folder of the file, and a model of the hub stays in its own."
            )
    dropped = sorted(set(graph.plugin_config) - PROPERTIES)
    if dropped:
        report(f"{GRAPH} of the hub: {', '.join(dropped)} in plugin_config is not used; a setting can have it.")
    return replace(graph, plugin_config={key: value for key, value in graph.plugin_config.items() if key in PROPERTIES})


def restrict_file(path: Path, report: Report) -> None:
    """Rewrite a graph.pbtxt that was pulled with what is taken from it, or remove it if it cannot be used at all."""
    try:
        graph = read_hub_graph(path, report)
    except ConfigError as error:
        report(f"{GRAPH} of the hub is not used: {error}")
        path.unlink()
    else:
        write_graph(path.parent, graph)


def _stays_inside(path: str) -> bool:
    """Whether a path stays in the folder that it starts at, on Windows too."""
    parts = PurePosixPath(path).parts
    return not path.startswith(("/", "~")) and ".." not in parts and "\\" not in path and ":" not in path
