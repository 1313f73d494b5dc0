"""The files in ``deploy/``: what can be known of them without a container engine.

``ECHOAPEX_INSTALL_TEST=1`` also runs the script that the Dockerfile runs, on the same files that the Dockerfile sees.
It needs a package index or a folder of wheels for the build backend.
"""

from __future__ import annotations

import base64
import fnmatch
import http.server
import importlib.util
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from real_peers import PostgresServer, postgres_programs

from echoapex.phantom.study import StudyPlan, write_study
from echoapex.serve import node_config
from echoapex.vocabulary import View

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
NEVER_IN_TEXT = re.compile(r"(?i)(password|secret|token)\s*[:=]\s*[\"']?(?!\s|$|true|false)[\w/+-]{6,}")
PINNED = re.compile(r"^[\w./-]+:(?!latest)[\w.-]*\d[\w.-]*$")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", DEPLOY / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined, without comments."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def said(name: str) -> list[str]:
    return [text for word, text in instructions() if word == name]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that ``.dockerignore`` lets into a build."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "everything is left out that is not named"
    folder = tmp_path_factory.mktemp("context")
    left_out = [rule for rule in rules[1:] if not rule.startswith("!")]

    def ignored(place: str, names: list[str]) -> set[str]:
        paths = {name: str((Path(place) / name).relative_to(ROOT)) for name in names}
        return {
            name
            for name, path in paths.items()
            if any(fnmatch.fnmatch(path, rule) or fnmatch.fnmatch(path, rule.removeprefix("**/")) for rule in left_out)
            or name == "__pycache__"
        }

    for name in (rule[1:] for rule in rules if rule.startswith("!")):
        source = ROOT / name
        assert source.exists(), name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def test_the_image_does_not_run_as_root() -> None:
    assert said("USER") == ["10001:10001"]
    assert instructions()[-1][0] == "CMD"
    words = [word for word, _ in instructions()]
    assert words.index("USER") > max(place for place, word in enumerate(words) if word == "RUN")


def test_images_have_a_version(compose: dict[str, Any]) -> None:
    images = [text.split()[0] for text in said("FROM")]
    images += [service["image"] for service in compose["services"].values()]
    assert len(images) == 5
    assert [image for image in images if not PINNED.match(image)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = re.search(r">=([\d.]+)", project["requires-python"])
    assert least and all(f"python:{least[1]}" in image for image in images if image.startswith("python:"))


def test_the_version_of_the_image_is_that_of_the_package(compose: dict[str, Any]) -> None:
    from echoapex.version import __version__

    assert compose["services"]["node"]["image"] == f"echoapex:{__version__.split('.dev')[0]}"


def test_no_secret_is_written_down() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.relative_to(DEPLOY).parts]
    assert len(files) >= 8
    for path in (path for path in files if path.suffix != ".py" and "__pycache__" not in path.parts):
        found = [match[0] for match in NEVER_IN_TEXT.finditer(path.read_text()) if "/run/secrets/" not in match[0]]
        assert [text for text in found if "database_password" not in text] == [], path.name
    assert NEVER_IN_TEXT.search("POSTGRES_PASSWORD: hunter2hunter2"), "the check can fail"
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "deploy/secrets" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_node_can_write_only_where_it_must(compose: dict[str, Any]) -> None:
    node = compose["services"]["node"]
    assert node["read_only"] is True
    assert node["cap_drop"] == ["ALL"]
    assert node["user"] == "10001:10001"
    assert "no-new-privileges:true" in node["security_opt"]
    assert "ports" not in node
    writable = [volume for volume in node["volumes"] if not volume.endswith(":ro")]
    assert writable == ["node-data:/var/lib/echoapex"]
    assert all(volume.split(":")[0] in compose["volumes"] for volume in writable)


def test_the_node_reaches_nothing_outside(compose: dict[str, Any]) -> None:
    assert compose["services"]["node"]["networks"] == compose["services"]["database"]["networks"] == ["inside"]
    assert compose["networks"]["inside"]["internal"] is True
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_files_that_compose_names_exist_or_are_made(compose: dict[str, Any], tmp_path: Path) -> None:
    made = set(load("make_secrets").make_secrets(tmp_path / "secrets"))
    named = [volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]]
    named += [secret["file"] for secret in compose["secrets"].values()]
    for name in (name for name in named if name.startswith("./")):
        assert (DEPLOY / name).is_file() or Path(name).name in made, name
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])


def test_the_settings_fit_together(compose: dict[str, Any]) -> None:
    settings = yaml.safe_load((DEPLOY / "node.yaml").read_text())
    orthanc = json.loads((DEPLOY / "orthanc" / "orthanc.json").read_text())
    peer = settings["peers"]["archive"]
    assert peer["host"] in compose["services"]
    assert (peer["ae_title"], peer["port"]) == (orthanc["DicomAet"], orthanc["DicomPort"])
    assert settings["accept_from"] == [orthanc["DicomAet"]]
    title, host, port = orthanc["DicomModalities"]["echoapex"]
    assert (title, port) == (settings["ae_title"], settings["port"])
    assert host in compose["services"]
    database = compose["services"]["database"]["environment"]
    url = f"postgresql://{database['POSTGRES_USER']}@database/{database['POSTGRES_DB']}"
    assert settings["database"] == url
    assert settings["data"] == "/var/lib/echoapex"


def test_the_node_accepts_its_settings(tmp_path: Path) -> None:
    settings = node_config.read_node_config(DEPLOY / "node.yaml")
    assert settings.database_url.startswith("postgresql://")
    health = load("health_check")
    served = f"http://{settings.health.host}:{settings.health.port}/health"
    assert served == health.DEFAULT_URL
    (tmp_path / "password").write_text("p@ss/word\n")
    started = node_config.read_node_config(
        load("start_node").write_settings(DEPLOY / "node.yaml", tmp_path / "password", tmp_path)
    )
    assert started.database_url == "postgresql://echoapex:p%40ss%2Fword@database/echoapex"


def test_extras_exist(compose: dict[str, Any]) -> None:
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    (argument,) = said("ARG")
    assert set(argument.removeprefix("EXTRAS=").split(",")) <= known
    wanted = set(compose["services"]["node"]["build"]["args"]["EXTRAS"].split(","))
    assert "node" in wanted
    assert wanted <= known


class _Answer(http.server.BaseHTTPRequestHandler):
    status, body = 200, b"ok\n"

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Answer) as one:
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "code", "line"),
    [(200, b"ok\n", 0, ""), (503, b"the database cannot be used\n", 1, "the database cannot be used\n")],
)
def test_the_health_check_of_the_image(
    server: http.server.HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: bytes,
    code: int,
    line: str,
) -> None:
    monkeypatch.setattr(_Answer, "status", status)
    monkeypatch.setattr(_Answer, "body", body)
    result = run_health_check(f"http://127.0.0.1:{server.server_port}/health")
    assert (result.returncode, result.stderr) == (code, line)


def test_no_answer_is_not_healthy() -> None:
    result = run_health_check("http://127.0.0.1:9/health")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1


def run_health_check(url: str) -> subprocess.CompletedProcess[str]:
    """The command of HEALTHCHECK, with the file where it is in the source tree."""
    (text,) = said("HEALTHCHECK")
    words = json.loads(text[text.index("[") :])
    assert words[0] == "python"
    assert words[1].startswith("/opt/echoapex/deploy/")
    script = DEPLOY / Path(words[1]).name
    environment = {**os.environ, "ECHOAPEX_HEALTH_URL": url, "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, script, *words[2:]], env=environment, capture_output=True, text=True, check=False
    )


def test_the_node_starts_with_the_password_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    """``echoapex`` is a stand-in here, which shows what it was called with."""
    program = tmp_path / "bin" / "echoapex"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    (tmp_path / "password").write_text("two words:@/\n")
    (tmp_path / "run").mkdir()
    arguments = [DEPLOY / "node.yaml", tmp_path / "password", tmp_path / "run"]
    for _ in range(2):  # a restart finds the file of the start before
        result = subprocess.run(
            [sys.executable, DEPLOY / "start_node.py", *arguments],
            env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
    written = tmp_path / "run" / "node.yaml"
    assert result.stdout.splitlines() == ["listen", str(written)]
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    values = yaml.safe_load(written.read_text())
    assert values["database"] == "postgresql://echoapex:two%20words%3A%40%2F@database/echoapex"
    assert values | {"database": ""} == yaml.safe_load((DEPLOY / "node.yaml").read_text()) | {"database": ""}


@pytest.mark.parametrize(
    ("settings", "password", "line"),
    [
        ("database: postgresql://u:p@h/n", "x", "holds a password"),
        ("database: sqlite", "x", "postgresql://USER@HOST/NAME"),
        ("data: x", "x", "names no database"),
        ("database: postgresql://u@h/n", "\n", "is empty"),
        ("{", "x", "cannot be read"),
    ],
)
def test_a_start_that_cannot_work_is_one_line(settings: str, password: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(settings)
    (tmp_path / "password").write_text(password)
    command = [sys.executable, DEPLOY / "start_node.py", tmp_path / "node.yaml", tmp_path / "password", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert line in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_secrets_are_random_kept_and_in_a_closed_folder(tmp_path: Path) -> None:
    make_secrets = load("make_secrets").make_secrets
    assert sorted(make_secrets(tmp_path / "one")) == ["database_password", "orthanc_users.json"]
    first = (tmp_path / "one" / "database_password").read_text()
    assert make_secrets(tmp_path / "one") == []
    assert (tmp_path / "one" / "database_password").read_text() == first
    make_secrets(tmp_path / "two")
    assert (tmp_path / "two" / "database_password").read_text() != first
    assert len(first) >= 40
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    users = json.loads((tmp_path / "one" / "orthanc_users.json").read_text())
    assert users["AuthenticationEnabled"] is True
    assert len(users["RegisteredUsers"]["admin"]) >= 30


def test_the_node_starts_with_postgresql_and_is_healthy(tmp_path: Path) -> None:
    """The real node, started as the container starts it, with the same settings but for addresses and folders."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = PostgresServer()
    try:
        url = urlsplit(str(server.new_database()))
        settings = yaml.safe_load((DEPLOY / "node.yaml").read_text())
        dicom_port, health_port = free_ports(2)
        place = f"{url.username}@{url.hostname}:{url.port}"
        settings |= {"host": "127.0.0.1", "port": dicom_port, "data": str(tmp_path / "data")}
        settings |= {"database": f"postgresql://{place}{url.path}", "health": {"port": health_port}}
        (tmp_path / "node.yaml").write_text(yaml.safe_dump(settings))
        (tmp_path / "password").write_text(url.password or "anything")
        (tmp_path / "run").mkdir()
        program = tmp_path / "bin" / "echoapex"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from echoapex.cli import main; main()" "$@"\n')
        program.chmod(0o755)
        source = str(Path(node_config.__file__).parents[2])
        environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": source}
        arguments = [tmp_path / "node.yaml", tmp_path / "password", tmp_path / "run"]
        command = [sys.executable, DEPLOY / "start_node.py", *arguments]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                ends = time.monotonic() + 60
                result = run_health_check(f"http://127.0.0.1:{health_port}/health")
                while result.returncode and process.poll() is None and time.monotonic() < ends:
                    time.sleep(0.3)
                    result = run_health_check(f"http://127.0.0.1:{health_port}/health")
            finally:
                process.terminate()
                code = process.wait(90)
        assert (result.returncode, result.stderr, code) == (0, "", 0)
    finally:
        server.stop()


ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed (on Debian: orthanc)")
def test_orthanc_accepts_its_settings_and_asks_for_the_password(tmp_path: Path) -> None:
    """The program itself, with the same files but other ports and folders; the container's image was never started."""
    settings = json.loads((DEPLOY / "orthanc" / "orthanc.json").read_text())
    ports = free_ports(2)
    storage = str(tmp_path / "db")
    own = {"StorageDirectory": storage, "IndexDirectory": storage, "HttpPort": ports[0], "DicomPort": ports[1]}
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "orthanc.json").write_text(json.dumps(settings | own))
    load("make_secrets").make_secrets(tmp_path / "secrets")
    shutil.copy(tmp_path / "secrets" / "orthanc_users.json", tmp_path / "etc" / "users.json")
    (user,) = json.loads((tmp_path / "etc" / "users.json").read_text())["RegisteredUsers"].items()
    url = f"http://127.0.0.1:{ports[0]}/modalities/echoapex/configuration"
    with subprocess.Popen([ORTHANC, tmp_path / "etc"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert ask(url, None) == (401, "")
            status, body = ask(url, user)
        finally:
            process.terminate()
            process.wait(20)
    assert status == 200
    modality = json.loads(body)
    assert (modality["AET"], modality["Host"], modality["Port"]) == ("ECHOAPEX", "node", 11112)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def ask(url: str, user: tuple[str, str] | None) -> tuple[int, str]:
    """Status and body, as soon as a program answers there."""
    request = urllib.request.Request(url)
    if user is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(user).encode()).decode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        try:
            with opener.open(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


def test_what_the_image_is_built_from(context: Path) -> None:
    assert (context / "src" / "echoapex" / "weights" / "phantom").is_dir()
    assert not (context / "tests").exists()
    assert not (context / "deploy" / "secrets").exists()
    for text in said("COPY"):
        words = text.split()
        if words[0] == "--from=build":
            continue
        assert all((context / word).exists() for word in words[:-1]), text
    assert said("RUN")[0].split()[:2] == ["sh", "deploy/install.sh"]


def test_the_install_script_makes_an_environment_and_installs_into_it(context: Path, tmp_path: Path) -> None:
    """With a stand-in for Python that writes down what it is called with."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/echoapex"; fi\n'
    )
    python.chmod(0o755)
    prefix = tmp_path / "prefix"
    environment = {**os.environ, "PYTHON": str(python), "PIP_OPTIONS": "--no-index --find-links wheels"}
    for extras in ("dicom,node", ""):
        subprocess.run(["sh", "deploy/install.sh", prefix, extras], cwd=context, env=environment, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    options = "--no-cache-dir --disable-pip-version-check --no-index --find-links wheels -c constraints.txt"
    assert [call for call in calls if "venv" in call] == [f"-m venv {prefix}"] * 2
    assert [call for call in calls if " pip " in call] == [
        f"-m pip install {options} .[dicom,node]",
        f"-m pip install {options} .",
    ]
    assert subprocess.run(["sh", "deploy/install.sh"], cwd=context, capture_output=True, check=False).returncode != 0


@pytest.mark.skipif(os.environ.get("ECHOAPEX_INSTALL_TEST") != "1", reason="set ECHOAPEX_INSTALL_TEST=1 to install")
def test_the_installed_program_runs_from_the_files_of_the_image(context: Path, tmp_path: Path) -> None:
    """Dependencies come from this interpreter, EchoApex itself from the new environment alone."""
    prefix = tmp_path / "prefix"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PYTHON": sys.executable, "PIP_OPTIONS": "--no-deps"}
    subprocess.run(["sh", "deploy/install.sh", prefix, "dicom,report"], cwd=context, env=environment, check=True)
    (site,) = prefix.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    home = tmp_path / "nothing"
    runtime = {"PATH": f"{prefix}/bin:/usr/bin:/bin", "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    entry = json.loads(said("ENTRYPOINT")[0])
    write_study(tmp_path / "study", 3, StudyPlan(views=(View.A4C,), size=96))
    analyze = ["analyze", str(tmp_path / "study"), "--out", str(tmp_path / "results"), "--dicom-sc", "--no-overlays"]
    for arguments, words in (
        (json.loads(said("CMD")[0]), "analyze"),
        (["models", "list"], "phantom"),
        ([*analyze, "--contours", "ed_es", "--device", "cpu"], "1 analysed"),
    ):
        program = [prefix / "bin" / entry[0], *arguments]
        result = subprocess.run(program, env=runtime, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert words in result.stdout + result.stderr
    assert (tmp_path / "results" / "dicom" / "study-1-pictures-sc.dcm").is_file()
    where = subprocess.run(
        [prefix / "bin" / "python", "-c", "import echoapex; print(echoapex.__file__)"],
        env=runtime,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(prefix)
    assert not home.exists(), "nothing is written into a home folder"
