"""Programs that tests of the DICOM node start on loopback: Orthanc, PostgreSQL and the tools of DCMTK."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 40.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(check: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until a check gives something; fails the test after a while."""
    ends = time.monotonic() + patience_s
    while time.monotonic() < ends:
        if found := check():
            return found
        time.sleep(0.03)
    raise AssertionError(f"waited {patience_s:g} s in vain: {what}")


def orthanc_program() -> str | None:
    """Where Orthanc is."""
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Orthanc:
    """An Orthanc with its DICOMweb plugin, empty at the start.

    Args:
        folder: for its storage.
        settings: further settings of its configuration file.
        lua: a script.
    """

    title = "ORTHANC"

    def __init__(self, folder: Path, lua: str = "", **settings: Any) -> None:
        folder.mkdir()
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
        scripts = []
        if lua:
            (folder / "rules.lua").write_text(lua)
            scripts.append(str(folder / "rules.lua"))
        configuration = {
            "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "DicomAet": self.title, "DicomPort": self.dicom_port, "HttpPort": self.http_port,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "StableAge": 1,
            "Plugins": [str(plugin)] if plugin.exists() else [], "LuaScripts": scripts,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "DicomCheckCalledAet": True, **settings,
        }  # fmt: skip
        self.url = f"{'https' if settings.get('SslEnabled') else 'http'}://127.0.0.1:{self.http_port}"
        self.context: Any = None
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        program = orthanc_program()
        assert program
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([program, str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        log.close()
        until(lambda: self._listens(), "Orthanc answers")

    def _listens(self) -> bool:
        for port in (self.http_port, self.dicom_port):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)):
                    return False
        return True

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()

    def ask(self, path: str, data: Any = None, method: str = "") -> Any:
        """A request to its REST interface."""
        body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method or None)
        with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None

    def upload(self, folder: Path) -> None:
        """Store the DICOM files of a folder."""
        for path in sorted(folder.glob("*.dcm")):
            self.ask("/instances", path.read_bytes())

    def modalities(self) -> list[str]:
        """The modality of each instance that it holds."""
        tags = [self.ask(f"/instances/{one}/simplified-tags") for one in self.ask("/instances")]
        return sorted(str(one["Modality"]) for one in tags)

    def stored_events(self) -> int:
        """How many instances were ever newly stored."""
        found, since = 0, 0
        while True:
            page = self.ask(f"/changes?since={since}&limit=1000")
            found += sum(change["ChangeType"] == "NewInstance" for change in page["Changes"])
            since = page["Last"]
            if page["Done"]:
                return found


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    return Path(program).parent if program else None


class PostgresServer:
    """A PostgreSQL server with an empty database cluster, run by a user that is not root."""

    def __init__(self) -> None:
        programs = postgres_programs()
        assert programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as_user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            names = {one.pw_name for one in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": self.folder}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data = self.folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(initdb, check=True, **quiet, **self._as_user)
        self.port = free_port()
        options = ["-h", "127.0.0.1", "-k", self.folder, "-p", str(self.port), "-F"]
        self.process = subprocess.Popen([programs / "postgres", "-D", data, *options], **quiet, **self._as_user)
        until(self._listens, "PostgreSQL answers")
        self._made = 0

    def _listens(self) -> bool:
        import pg8000.native

        try:
            pg8000.native.Connection("tester", host="127.0.0.1", port=self.port, database="postgres").close()
        except (pg8000.exceptions.InterfaceError, pg8000.exceptions.DatabaseError):
            return False
        return True

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        import pg8000.native

        self._made += 1
        connection = pg8000.native.Connection("tester", host="127.0.0.1", port=self.port, database="postgres")
        connection.run(f"CREATE DATABASE node{self._made}")
        connection.close()
        return f"postgresql://tester@127.0.0.1:{self.port}/node{self._made}"

    def stop(self) -> None:
        """End it, and remove its files."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def dcmtk_program(tool: str) -> str:
    """Where a tool of DCMTK is; skips the test where it is not installed.

    pynetdicom brings programs of the same names into environments of Python, active or not; these are not meant.
    """
    named = os.environ.get("PATH", "").split(os.pathsep)
    places = [place for place in named if not (Path(place).parent / "pyvenv.cfg").exists()]
    found = shutil.which(tool, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{tool} is not installed (Debian: dcmtk)")
    return found


def dcmtk(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a tool of DCMTK; skips the test where it is not installed."""
    words = [dcmtk_program(tool), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def store_with_dcmtk(port: int, files: Sequence[Path], *options: str) -> subprocess.CompletedProcess[str]:
    """Send files with storescu, which are JPEG baseline."""
    addresses = ("-v", "-aet", "SENDER", "-aec", "ECHOAPEX", "-R", "-xy", *options, "127.0.0.1", port)
    return dcmtk("storescu", *addresses, *files)
