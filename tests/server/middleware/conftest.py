"""A client of an application with one websocket route, in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from antiphon.server.app import create_app
from antiphon.settings import Settings
from antiphon.testing.fake import FakeSession
from tests.support.service import new_service

LiveClient = Callable[..., TestClient]


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


@pytest.fixture
def live_client() -> Iterator[LiveClient]:
    """`live_client(api_key_file=…)`: a client of an application with those settings and an echo at `/live`."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            app = create_app(new_service(FakeSession("fake")), Settings(**settings))
            app.state.server.open()
            app.add_api_websocket_route("/live", echo)
            return stack.enter_context(TestClient(app))

        yield start
