"""The compose file and the Dockerfile, read by the real programs: Docker Compose and hadolint, from their PyPI wheels.

No Docker engine runs here or in CI: images are never built and containers never started by these tests. What is tested
instead: Compose's own parser and interpolation, hadolint's Dockerfile parser, that every command in the file is one
that the installed Ray and MLflow accept, and (slow) that the MLflow command runs and answers under its compose name.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
COMPOSE_FILE = ROOT / "docker-compose.yml"
BIN = Path(sys.executable).parent
REQUIRED = {"RAY_AUTH_TOKEN": "token-of-the-test", "EMSWEEP_CORPORA": "/corpora-of-the-test"}
LONG_RUNNING = {"mlflow", "ray-head", "ray-worker", "ray-worker-gpu"}


def compose(path: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | variables
    command = [str(BIN / "docker-compose"), "--file", str(path), "--profile", "*", "config", *arguments]
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    done = compose(COMPOSE_FILE, REQUIRED, "--format", "json")
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_compose_accepts_the_file_without_a_warning() -> None:
    done = compose(COMPOSE_FILE, REQUIRED, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    healthcheck:\n", "    healthchecks:\n"),
        ("condition: service_healthy", "condition: service_healty"),
        ("${EMSWEEP_MLFLOW_PORT:-5000}", "${EMSWEEP_MLFLOW_PORT:-5000"),
        ("      - mlflow:/mlflow", "      - mlflows:/mlflow"),
        ("      ray-head:\n", "      ray-heads:\n"),
    ],
)
def test_the_parser_notices_misspelt_keys_and_broken_interpolation(tmp_path: Path, right: str, wrong: str) -> None:
    text = COMPOSE_FILE.read_text()
    assert right in text
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text.replace(right, wrong))
    assert compose(broken, REQUIRED, "--quiet").returncode != 0


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_there_is_no_default_token_and_no_default_corpus(name: str) -> None:
    done = compose(COMPOSE_FILE, {key: value for key, value in REQUIRED.items() if key != name}, "--quiet")
    assert done.returncode != 0
    assert f"required variable {name} is missing a value" in done.stderr


def test_services_and_their_profiles(model: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles", []) for name, service in model["services"].items()}
    assert profiles == {
        "mlflow": [],
        "ray-head": [],
        "ray-worker": [],
        "ray-worker-gpu": ["gpu"],
        "sweep": ["sweep"],
    }


def test_ports_are_published_on_loopback_only(model: dict[str, Any]) -> None:
    published = {name: service.get("ports", []) for name, service in model["services"].items()}
    assert [name for name, ports in published.items() if ports] == ["mlflow"]
    for ports in published.values():
        assert {port["host_ip"] for port in ports} <= {"127.0.0.1"}
    assert all(service.get("network_mode") is None for service in model["services"].values())


def test_everything_that_keeps_running_has_a_health_check_and_a_restart_rule(model: dict[str, Any]) -> None:
    for name in LONG_RUNNING:
        service = model["services"][name]
        assert service["healthcheck"]["test"][0] == "CMD"
        assert not service["healthcheck"].get("disable", False)
        assert service["restart"] == "unless-stopped"
    assert model["services"]["sweep"]["restart"] == "no"


def test_no_password_or_token_stands_in_the_files(model: dict[str, Any]) -> None:
    secret = re.compile(r"password|passwd|secret|token|api_?key", re.IGNORECASE)
    for service in model["services"].values():
        for key, value in (service.get("environment") or {}).items():
            assert not secret.search(key) or value in (REQUIRED["RAY_AUTH_TOKEN"],), key
    for line in (*COMPOSE_FILE.read_text().splitlines(), *(ROOT / "Dockerfile").read_text().splitlines()):
        assignment = re.match(r"\s*(?:ENV |ARG |- )?([A-Z_]*(?:PASSWORD|SECRET|TOKEN)[A-Z_]*)[:=]\s*(\S+)", line)
        assert assignment is None or (assignment[2].startswith("${") and ":?" in assignment[2]), line


def test_ray_services_authenticate_by_token(model: dict[str, Any]) -> None:
    for name in ("ray-head", "ray-worker", "ray-worker-gpu", "sweep"):
        environment = model["services"][name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"] == REQUIRED["RAY_AUTH_TOKEN"]


def test_ray_knows_these_names_of_its_authentication() -> None:
    """`AuthenticationError` explains which variables count; the mode is read by Ray's own loader."""
    script = (
        "import ray; from ray._raylet import get_authentication_mode, AuthenticationMode, AuthenticationTokenLoader\n"
        "assert get_authentication_mode() == AuthenticationMode.TOKEN\n"
        "assert AuthenticationTokenLoader.instance().has_token()"
    )
    settings = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_gpu_worker_reserves_devices_and_only_it(model: dict[str, Any]) -> None:
    for name, service in model["services"].items():
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        assert [device["capabilities"] for device in devices] == ([["gpu"]] if name == "ray-worker-gpu" else [])


def test_workers_can_be_scaled(model: dict[str, Any]) -> None:
    for name in ("ray-worker", "ray-worker-gpu"):
        assert "container_name" not in model["services"][name]
        assert "ports" not in model["services"][name]


def test_containers_have_no_privileges_and_the_corpora_are_read_only(model: dict[str, Any]) -> None:
    for service in model["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged", False)
        for volume in service["volumes"]:
            assert volume["type"] == "volume" or volume["read_only"], volume
    users = re.findall(r"^USER (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users
    assert users[-1].split(":")[0] not in ("0", "root")


def test_what_the_image_is_built_from_exists_and_is_let_through(model: dict[str, Any]) -> None:
    for service in model["services"].values():
        assert Path(service["build"]["context"]) == ROOT
        assert (ROOT / service["build"]["dockerfile"]).is_file()
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, pattern) for pattern in let_through), source


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    command = [str(BIN / "hadolint"), "--no-color", str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def click_options(module: str, command: tuple[str, ...]) -> set[str]:
    """The options of an installed command, from its own help."""
    done = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", done.stdout))


@pytest.fixture(scope="module")
def known_options() -> dict[tuple[str, str], set[str]]:
    return {
        ("mlflow", "server"): click_options("mlflow", ("server",)),
        ("ray", "start"): click_options("ray.scripts.scripts", ("start",)),
        ("ray", "status"): click_options("ray.scripts.scripts", ("status",)),
    }


@pytest.mark.slow
def test_every_option_in_the_file_is_one_of_the_installed_programs(
    model: dict[str, Any], known_options: dict[tuple[str, str], set[str]]
) -> None:
    checked = 0
    for name, service in model["services"].items():
        commands = [service["command"], service.get("healthcheck", {}).get("test", ["CMD"])[1:]]
        if name == "sweep":
            commands = [service["entrypoint"][2].partition(">")[0].split()]
        for command in commands:
            if command and command[0] in ("ray", "mlflow"):
                used = {word.partition("=")[0] for word in command[2:]}
                assert used <= known_options[command[0], command[1]], (name, used)
                checked += 1
    assert checked == 8


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_the_mlflow_command_runs_and_answers_under_its_compose_name_only(model: dict[str, Any], tmp_path: Path) -> None:
    service, port = model["services"]["mlflow"], free_port()
    command = [word.replace("/mlflow/", f"{tmp_path}/").replace("0.0.0.0", "127.0.0.1") for word in service["command"]]
    command = [f"--port={port}" if word == "--port=5000" else word for word in command]
    settings = os.environ | service["environment"] | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
    try:
        check = service["healthcheck"]["test"][1:]
        check = [sys.executable, *check[1:-1], check[-1].replace(":5000", f":{port}")]
        deadline = time.monotonic() + 120
        while subprocess.run(check, capture_output=True, check=False).returncode and time.monotonic() < deadline:
            time.sleep(0.3)
        assert answer(port, "mlflow:5000") == 200
        assert answer(port, "127.0.0.1:5000") == 200
        assert answer(port, "elsewhere.example") == 403
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answer(port: int, host: str) -> int:
    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
    request = urllib.request.Request(address, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
