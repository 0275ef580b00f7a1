"""The files in deploy/ name commands, flags, routes and ports that exist; no container engine or running systemd is needed."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from antiphon.cli.main import COMMANDS
from antiphon.environment import PREFIX
from antiphon.server.app import create_app
from antiphon.settings import Settings, load_settings
from antiphon.supervision import EXIT_STUCK
from deploy.healthcheck import READY, address_of
from tests.support.service import new_service

DEPLOY = Path(__file__).parents[1] / "deploy"


@dataclass
class Stage:
    """One FROM of a Dockerfile: its name, and the instructions after it, in order."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        return next(value for name, value in reversed(self.steps) if name == instruction)


def read_dockerfile(path: Path) -> dict[str, Stage]:
    """The stages of a Dockerfile by name, without comments and with continued lines joined."""
    stages: dict[str, Stage] = {}
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, value = line.strip().partition(" ")
        if instruction == "FROM":
            name = value.partition(" AS ")[2]
            stages[name] = Stage(name)
        elif instruction:
            stages[name].steps.append((instruction, re.sub(r"\s+", " ", value.strip())))
    return stages


STAGES = read_dockerfile(DEPLOY / "Dockerfile")
IMAGES = [STAGES["cpu"], STAGES["gpu"]]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

each_image = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
each_service = pytest.mark.parametrize("name", SERVICES)


def flags_in(command: list[str]) -> set[str]:
    return {word.split("=")[0].removeprefix("--").replace("-", "_") for word in command if word.startswith("--")}


def assert_is_a_command(words: list[str]) -> None:
    """Assert that the words after the entrypoint are one of our commands, or flags of serve."""
    if words and not words[0].startswith("-"):
        assert words[0] in COMMANDS
    else:
        assert flags_in(words) <= set(Settings.model_fields)


def test_build_without_a_target_is_the_cpu_image() -> None:
    assert list(STAGES)[-1] == "cpu"


@each_image
def test_image_runs_as_an_unprivileged_user(image: Stage) -> None:
    assert image.last("USER") == "5000:5000"
    assert image.steps.index(("USER", "5000:5000")) > max(
        number for number, (instruction, _) in enumerate(image.steps) if instruction == "RUN"
    )


@each_image
def test_image_entrypoint_is_the_command(image: Stage) -> None:
    assert json.loads(image.last("ENTRYPOINT")) == ["antiphon"]
    assert_is_a_command(json.loads(image.last("CMD")))
    assert image.last("EXPOSE") == str(Settings().rest_port)
    assert image.last("WORKDIR") == "/"  # so that `--model_repository_path models` is the /models that is mounted


@each_image
def test_files_copied_into_an_image_exist(image: Stage) -> None:
    copied = [value for stage in STAGES.values() for name, value in stage.steps if name == "COPY"]
    files = [word for value in copied if not value.startswith("--from") for word in value.split()[:-1]]
    kept = re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert set(files) == set(kept)
    assert all((DEPLOY.parent / file).exists() for file in files)


@pytest.mark.parametrize("build", ["build", "gpu-build"])
def test_image_lists_its_packages(build: str) -> None:
    """Those of the lock that it installs; the folder is copied into the image."""
    [install] = [value for step, value in STAGES[build].steps if step == "RUN" and "--require-hashes" in value]
    assert '-r "locks/${EXTRAS:-runtime}.txt"' in install
    assert install.endswith('scripts/sbom /opt/antiphon/sbom.json "${EXTRAS:-runtime}"')


def test_cpu_and_gpu_images_share_their_last_steps() -> None:
    ends = [image.steps[image.steps.index(("USER", "5000:5000")) :] for image in IMAGES]
    assert ends[0] == ends[1]


@each_image
def test_health_check_is_in_the_image(image: Stage) -> None:
    copied = [value.split()[1] for name, value in image.steps if name == "COPY" and "healthcheck" in value]
    assert [f'CMD ["python", "{path}"]' in image.last("HEALTHCHECK") for path in copied] == [True]


def test_health_check_route_exists() -> None:
    assert "get" in create_app(new_service(), Settings()).openapi()["paths"][READY]


@pytest.mark.parametrize(
    ("command", "environment", "address"),
    [
        ("antiphon serve", {}, "127.0.0.1:8000"),
        ("antiphon --rest_port 9000 --config_path /models/config.json", {}, "127.0.0.1:9000"),
        ("antiphon --rest-port=9001", {"ANTIPHON_REST_PORT": "7000"}, "127.0.0.1:9001"),
        ("antiphon serve", {"ANTIPHON_REST_PORT": "7000"}, "127.0.0.1:7000"),
        ("docker-init -- antiphon --rest_port 9002 --rest_bind_address 10.0.0.2,::1", {}, "10.0.0.2:9002"),
        ("antiphon --rest_bind_address=::", {}, "127.0.0.1:8000"),
        ("antiphon --rest_bind_address ::1", {}, "[::1]:8000"),
    ],
)
def test_health_check_address_is_the_servers(command: str, environment: dict[str, str], address: str) -> None:
    assert address_of(command.split(), environment) == address


@each_service
def test_compose_service_starts_the_image_it_builds(name: str) -> None:
    service = SERVICES[name]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert service["build"]["target"] in STAGES
    assert_is_a_command(service["command"])
    flags = dict(zip(service["command"][::2], service["command"][1::2], strict=True))
    assert service["ports"] == [f"{flags['--rest_port']}:{flags['--rest_port']}"]
    mounted = {volume.split(":")[1] for volume in service["volumes"]}
    assert str(Path(flags["--config_path"]).parent) in mounted
    assert {volume.split(":")[0] for volume in service["volumes"]} == {"../models", *COMPOSE["volumes"]}


@each_service
def test_compose_service_is_unprivileged(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


@each_service
def test_compose_service_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert {"mem_limit", "memswap_limit", "pids_limit", "cpus"} <= set(service)
    assert [mount.partition(":size=")[::2] for mount in service["tmpfs"]] == [("/tmp", "64m")]
    folders = {volume.split(":")[1] for volume in service["volumes"]}
    assert {value.partition("=")[2] for value in service["environment"] if value.startswith("TMPDIR=")} <= folders


@each_service
def test_compose_service_takes_a_key_or_none_and_keeps_a_generated_one(name: str) -> None:
    service = SERVICES[name]
    assert {"ANTIPHON_API_KEY", "ANTIPHON_NO_AUTH"} <= set(service["environment"])
    variables = [word for step, value in STAGES[name].steps if step == "ENV" for word in value.split()]
    [folder] = [word.partition("=")[2] for word in variables if word.startswith("XDG_STATE_HOME=")]
    assert f"state:{folder}" in service["volumes"]


@each_image
def test_compiled_models_cannot_be_written_by_every_user(image: Stage) -> None:
    made = " ".join(value for name, value in image.steps if name == "RUN")
    assert "0777" not in made
    assert "install -d -o 5000 -g 5000 /models /opt/cache" in made


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "antiphon.service")
    return parser


def test_systemd_unit_starts_the_command(unit: configparser.ConfigParser) -> None:
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program == "/opt/antiphon/bin/antiphon"
    assert_is_a_command(words)
    assert "RestartPreventExitStatus" in unit["Service"]


def test_systemd_unit_restarts_a_server_with_a_stuck_worker(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["Restart"] == "on-failure"
    assert str(EXIT_STUCK) not in unit["Service"]["RestartPreventExitStatus"].split()


@each_service
def test_container_with_a_stuck_worker_is_restarted(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_systemd_unit_sets_valid_settings(unit: configparser.ConfigParser, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = dict(pair.split("=", 1) for pair in unit["Service"]["Environment"].split())
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    assert ours
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    load_settings()


def test_systemd_unit_is_hardened(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert "MemoryDenyWriteExecute" not in service  # kernels are compiled at run time


def test_systemd_unit_has_limits_and_restarts(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    assert {"MemoryMax", "TasksMax", "LimitNOFILE"} <= set(service)
    assert "XDG_STATE_HOME=%S" in service["Environment"].split()  # a generated API key is kept in StateDirectory


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_accepts_every_line(tmp_path: Path) -> None:
    unit = tmp_path / "antiphon.service"
    unit.write_text((DEPLOY / "antiphon.service").read_text().replace("/opt/antiphon/bin/antiphon", "/bin/true"))
    found = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_commands_on_the_deploy_page_exist() -> None:
    page = (DEPLOY / "README.md").read_text()
    assert {name.lower() for name in re.findall(rf"{PREFIX}(\w+)=", page)} <= {*Settings.model_fields, "api_key"}
    commands = [line for line in page.replace("\\\n", " ").splitlines() if line.startswith("docker run")]
    assert len(commands) == 5
    for line in commands:
        words = shlex.split(line)
        image = next(number for number, word in enumerate(words) if word.startswith("antiphon:"))
        assert_is_a_command(words[image + 1 :])
    assert all((DEPLOY.parent / path).exists() for path in re.findall(r"deploy/[\w.]+", page))
