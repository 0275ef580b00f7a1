"""Loads the models in a thread while the server already answers."""

from __future__ import annotations

import gc
import logging
import threading

from antiphon.errors import AntiphonError, ConfigError
from antiphon.hub.pull import ByteProgress
from antiphon.loader import DEFAULT_RECOGNISER, LoadOptions, built_in_models, download
from antiphon.model_server import ModelServer
from antiphon.model_spec import config_of
from antiphon.server.draining import DrainingServer
from antiphon.settings import Settings
from antiphon.types.options import Report
from antiphon.types.results import ModelInfo

logger = logging.getLogger(__name__)


class Loading(threading.Thread):
    """Loads the models while the server already answers; if none can be loaded, keeps the error and stops the server."""

    def __init__(
        self,
        settings: Settings,
        models: ModelServer,
        server: DrainingServer,
        url: str,
        report: Report,
        progress: ByteProgress,
    ) -> None:
        super().__init__(name="antiphon-loading", daemon=True)
        self.error: AntiphonError | None = None
        self._settings = settings
        self._server = server
        self._url = url
        self._models = models
        self._report = report
        self._progress = progress

    def run(self) -> None:
        try:
            self._load()
        except AntiphonError as error:
            self._fail(error)
        except Exception as error:
            logger.debug("loading failed", exc_info=True)
            self._fail(ConfigError(f"Cannot load the models: {error}"))

    def _load(self) -> None:
        settings = self._settings
        named = config_of(settings) or settings.model_path or settings.source_model
        if not named and not built_in_models():
            logger.info(
                "No voice is served; pip install 'antiphon[espeak]' adds eSpeak NG, or name one in a config.json."
            )
        if not named:  # refused before anything else is loaded if it can be neither found nor downloaded
            options = LoadOptions(offline=settings.offline, report=logger.info, progress=self._progress, setting=None)
            download(DEFAULT_RECOGNISER, options)
        failed = self._models.reload().failed
        if failed and not self._models.info():
            raise _none_of(failed)
        if failed and not named:  # the default models load unless a setting is wrong or a download fails
            raise next(iter(failed.values()))
        gc.collect()
        gc.freeze()  # else each full collection stops every thread for 90 ms, health checks and refusals included
        self._server.state.open()
        if not self._server.should_exit:
            self._report(f"Ready at {self._url}")
        if config_of(settings) is not None and settings.file_system_poll_wait_seconds > 0:
            self._models.watch(settings.file_system_poll_wait_seconds)

    def _fail(self, error: AntiphonError) -> None:
        if not self._server.should_exit:  # else the models could not be loaded because the server is closing
            self.error = error
        self._server.should_exit = True


def _none_of(failed: dict[str, AntiphonError]) -> AntiphonError:
    first = next(iter(failed.values()))
    if len(failed) == 1:
        return first
    return ConfigError(f"None of the {len(failed)} models can be loaded; the first is {next(iter(failed))}: {first}")


def summary(info: ModelInfo, slots: int) -> str:
    """One line about a loaded model: where it runs, how its weights are stored, and why if that was not obvious."""
    why = f" ({info.reason})" if info.reason else ""
    return (
        f"Serving {info.name} from {info.path}: {info.backend} backend on {info.device}{why}, "
        f"precision {info.precision}, weights {info.weight_format}, {slots} slots"
    )
