"""What every test of an HTTP route asks of an answer."""

from __future__ import annotations

from typing import Any


def error_of(response: Any, status: int, *, param: str | None) -> dict[str, Any]:
    """The error object, after checking that it is OpenAI's and nothing else."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["param"] == param
    assert body["error"]["message"]
    return body["error"]
