"""Prove the Dockerfile's steps in a clean root where no container engine runs: `sudo python deploy/prove.py cpu|gpu ROOT`.

ROOT is what debootstrap left (trixie for the CPU image, noble for the GPU one). The instructions are read from the Dockerfile and
carried out there in their order: COPY copies, RUN runs in a chroot, USER, ENTRYPOINT and HEALTHCHECK are what is tried last.
What it cannot show: the base images themselves (Debian's Python stands in for python:3.12-slim), and a GPU.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
PORT = "18765"
CERTIFICATES = "/etc/prove.crt"  # not among the system's own, which installing them would put back
SAID = "the quick brown fox jumps over the lazy dog"
# What python:3.12-slim has and a bare Debian has not.
STAND_IN = "apt-get update -q && apt-get install -y -q --no-install-recommends python3 python3-venv ca-certificates"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass
class Stage:
    """One FROM of a Dockerfile: its name, its base and what follows, in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        return next(value for name, value in reversed(self.steps) if name == instruction)


def read_dockerfile(path: Path) -> dict[str, Stage]:
    """The stages of a Dockerfile by name; comments and the ends of lines that go on are taken out."""
    stages: dict[str, Stage] = {}
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, value = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            current = stages[name] = Stage(name, base)
        elif instruction:
            current.steps.append((instruction, re.sub(r"\s+", " ", value.strip())))
    return stages


def build(stages: dict[str, Stage], target: str, root: Path) -> dict[str, str]:
    """Carry out a stage in the root, after the stage it copies from; the environment it leaves comes back."""
    stage = stages[target]
    for source in _copied_from(stage):
        build(stages, source, root)
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    where = "/"
    for instruction, value in stage.steps:
        say(f"[{target}] {instruction} {value}")
        if instruction == "ARG":
            name, _, default = value.partition("=")
            environment[name] = default
        elif instruction == "ENV":
            for name, said in re.findall(r"(\w+)=(\S+)", value):
                environment[name] = said.replace("$PATH", environment["PATH"])
        elif instruction == "WORKDIR":
            where = value
            (root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY" and not value.startswith("--from"):
            *sources, place = value.split()
            _copy(sources, root / where.lstrip("/") / place if not place.startswith("/") else root / place.lstrip("/"))
        elif instruction == "RUN":
            _run(root, ["sh", "-c", f"cd {where} && {value}"], environment | _network())
    return environment


def _copied_from(stage: Stage) -> Iterator[str]:
    """Stages share one root here, so that what is copied from one is there already."""
    for instruction, value in stage.steps:
        if instruction == "COPY" and (found := re.match(r"--from=(\S+) (\S+) (\S+)$", value)):
            assert found[2] == found[3], "another place would need a real copy"
            yield found[1]


def _copy(sources: list[str], place: Path) -> None:
    for source in sources:
        path = HERE.parent / source
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)


def _network() -> dict[str, str]:
    """What pip needs on this machine to reach its index, if anything."""
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return kept | ({"PIP_CERT": CERTIFICATES, "PIP_DEFAULT_TIMEOUT": "180"} if "PIP_CERT" in os.environ else {})


def _run(root: Path, command: list[str], environment: dict[str, str], user: str = "0:0", check: bool = True) -> str:
    done = subprocess.run(_chroot(root, command, environment, user), stdout=subprocess.PIPE, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def _chroot(root: Path, command: list[str], environment: dict[str, str], user: str) -> list[str]:
    said = [f"{name}={value}" for name, value in environment.items()]
    return ["chroot", f"--userspec={user}", str(root), "env", "-i", *said, *command]


def try_out(stage: Stage, root: Path, environment: dict[str, str]) -> None:
    """Start the entrypoint as the image's user and as anyone, wait until it is ready, speak, and read what was said."""
    entrypoint = json.loads(stage.last("ENTRYPOINT"))
    health = json.loads(stage.last("HEALTHCHECK").partition("CMD ")[2])
    for user in (stage.last("USER"), "4321:4321"):
        flags = ["--rest_port", PORT, "--rest_bind_address", "127.0.0.1"]
        say(f"[{stage.name}] {' '.join(entrypoint + flags)} as {user}")
        server = subprocess.Popen(_chroot(root, entrypoint + flags, environment, user))
        try:
            # The check reads the flags of process 1, which in a chroot is another: they are given to it as variables.
            told = environment | {"ANTIPHON_REST_PORT": PORT}
            until = time.monotonic() + 120
            while subprocess.run(_chroot(root, health, told, user), stdout=subprocess.DEVNULL).returncode:
                if server.poll() is not None or time.monotonic() > until:
                    sys.exit(f"[{stage.name}] it never was ready")
                time.sleep(1)
            speech = f"http://127.0.0.1:{PORT}/v3/audio"
            body = json.dumps({"model": "espeak", "input": SAID})
            subprocess.run(
                [
                    "curl",
                    "-sf",
                    f"{speech}/speech",
                    "-H",
                    "Content-Type: application/json",
                    "-d",
                    body,
                    "-o",
                    "/tmp/said.wav",
                ],
                check=True,
            )
            form = ["-F", "model=starter-asr", "-F", "file=@/tmp/said.wav"]
            heard = subprocess.run(["curl", "-sf", f"{speech}/transcriptions", *form], check=True, capture_output=True)
            say(f"[{stage.name}] said {SAID!r}, heard {json.loads(heard.stdout)['text']!r}")
        finally:
            server.terminate()
            say(f"[{stage.name}] ended with {server.wait(60)}")


def main() -> None:
    """Build the target in the root and try it out, in mounts of its own."""
    target, root = sys.argv[1], Path(sys.argv[2]).resolve()
    if os.environ.get("ANTIPHON_PROVING") is None:
        os.environ["ANTIPHON_PROVING"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    for folder in ("proc", "sys", "dev"):
        subprocess.run(["mount", "--rbind", f"/{folder}", str(root / folder)], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    if "PIP_CERT" in os.environ:
        shutil.copy(os.environ["PIP_CERT"], root / CERTIFICATES.lstrip("/"))
    stages = read_dockerfile(HERE / "Dockerfile")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    if stages[target].base.startswith("python:"):
        _run(root, ["sh", "-c", f"{STAND_IN} && ln -sf /usr/bin/python3 /usr/local/bin/python"], environment)
    try_out(stages[target], root, build(stages, target, root))


if __name__ == "__main__":
    main()
