"""OVMS's command line in our words: what is left out is said, and nothing else is touched."""

from __future__ import annotations

import pytest

from antiphon.cli.ovms_flags import IGNORED, translate
from antiphon.settings import Settings

BARE = frozenset({"pull", "add_to_config", "remove_from_config", "metrics_enable"})


@pytest.mark.parametrize(
    ("theirs", "ours"),
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
def test_arguments(theirs: str, ours: str) -> None:
    assert translate(theirs.split(), BARE)[0] == ours.split()


def test_what_is_left_out_is_said() -> None:
    _, said = translate(["--port", "9000", "--batch-size=4", "--rest_port", "1"], BARE)
    assert said == [
        "--port changes nothing: there is no gRPC here, and the HTTP port is --rest_port.",
        "--batch_size changes nothing: batches are as large as the requests of the moment, up to --slots.",
    ]


def test_nothing_we_have_is_left_out() -> None:
    assert not IGNORED.keys() & Settings.model_fields.keys()
