"""A supervised model server of fakes whose workers die or get stuck, with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from antiphon.errors import EngineFailed
from antiphon.model_server import ModelServer, ModelSource
from antiphon.model_spec import ModelSpec
from antiphon.service import SpeechService
from antiphon.supervision import Supervisor
from antiphon.telemetry import Telemetry
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event
from antiphon.types.options import TranscribeOptions
from tests.support.http_helpers import Hold, wait_until
from tests.support.prometheus_parse import value
from tests.support.service import transcribe
from tests.support.sounds import tone

PLAIN = TranscribeOptions()
ONE = tone(1.0, 16_000)
STALL_S = 60.0


class Mortal(FakeSession):
    """Ends its worker thread in each step if it is `dying`, and blocks in it while it is held."""

    def __init__(self, name: str, *, dying: bool, hold: Hold | None = None) -> None:
        super().__init__(name, slots=1, before_step=lambda: None if hold is None else hold())
        self.dying = dying

    def step(self) -> list[Event]:
        if self.dying:
            raise SystemExit
        return super().step()


class Supervised:
    """A model server over `names`, with a clock that only `after` moves. Tasks run in the supervisor's own thread.

    The next loads give sessions that die at their first step, for as long as `dying` is set; or fail with `broken`.
    """

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.now = 0.0
        self.dying = True
        self.broken: Exception | None = None
        self.hold: Hold | None = None
        self.loads: list[float] = []
        self.exits: list[float] = []
        self.telemetry = Telemetry()
        self.before_load: Callable[[], None] = lambda: None
        self.models = ModelServer(ModelSource(self.read, self.load), hooks=self.telemetry.model)
        self.service = SpeechService(self.models)
        self.models.reload()
        self.supervisor = Supervisor(
            self.models,
            stall_seconds=STALL_S,
            exit=lambda _models: self.exits.append(self.now),
            clock=lambda: self.now,
            launch=lambda task: task(),
        )

    def read(self) -> list[ModelSpec]:
        return [ModelSpec(name, f"/models/{name}") for name in self.names]

    def load(self, spec: ModelSpec) -> tuple[FakeSession, ...]:
        self.before_load()
        self.loads.append(self.now)
        if self.broken is not None:
            raise self.broken
        return (Mortal(spec.name, dying=self.dying, hold=self.hold),)

    def after(self, seconds: float) -> None:
        """Look once a second for so long."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 1.0, until)
            self.supervisor.look()

    def die(self, name: str = "a") -> None:
        """Send the request that ends the worker."""
        with self.models.use(name, "transcribe") as scheduler:
            with pytest.raises(EngineFailed, match=f"The worker of {name} died"):
                transcribe(self.service, ONE, PLAIN, name)
            wait_until(lambda: scheduler.stopped)

    def ask(self, name: str = "a") -> str:
        return transcribe(self.service, ONE, PLAIN, name).text

    def state(self, name: str = "a") -> tuple[str, str | None]:
        return next((each.state, each.error) for each in self.models.states() if each.name == name)

    def metric(self, name: str) -> float:
        return value(self.telemetry.render(self.models.loads()), name, name="a")
