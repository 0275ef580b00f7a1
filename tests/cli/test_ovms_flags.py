"""Rewriting OVMS's command line: flags without effect are dropped with a note, others stay."""

from __future__ import annotations

import pytest

from antiphon.cli.ovms_flags import IGNORED, translate
from antiphon.settings import Settings

VALUELESS = frozenset({"pull", "add_to_config", "remove_from_config", "metrics_enable"})


@pytest.mark.parametrize(
    ("ovms", "ours"),
    [
        ("--rest_port 8000 --port 9000 --pull", "--rest_port 8000 --pull"),
        ("--grpc_workers=4 --rest-port=8000", "--rest-port=8000"),
        ("--stateful --shape auto --layout NHWC:NCHW --model_name x", "--model_name x"),
        ("--nireq --pull", "--pull"),
        ("--nireq -1 --pull", "--pull"),
        ("--pull=true --metrics_enable=false", "--pull"),
        ("--metrics-enable=1", "--metrics-enable"),
        ("--add_to_config models/config.json --model_name x", "--add_to_config --config_path models/config.json --model_name x"),
        ("--remove-from-config=models --model_name x", "--remove-from-config --config_path models --model_name x"),
        ("--add_to_config --config_path models --model_name x", "--add_to_config --config_path models --model_name x"),
        ("--model_path a=b --nonsense=1 -h", "--model_path a=b --nonsense=1 -h"),
    ],
)  # fmt: skip
def test_arguments(ovms: str, ours: str) -> None:
    assert translate(ovms.split(), VALUELESS)[0] == ours.split()


def test_dropped_flags_are_noted() -> None:
    _, notes = translate(["--port", "9000", "--batch-size=4", "--rest_port", "1"], VALUELESS)
    assert notes == [
        "--port changes nothing: there is no gRPC here, and the HTTP port is --rest_port.",
        "--batch_size changes nothing: batches grow with the number of concurrent requests, up to --slots.",
    ]


def test_no_setting_is_dropped() -> None:
    assert not IGNORED.keys() & Settings.model_fields.keys()
