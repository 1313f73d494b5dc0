"""`echoapex listen` as a process of its own, for tests that kill it, stop it and look into its database."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import yaml
from real_peers import free_port, until

from echoapex.serve.node_config import NodeConfig, read_node_config

SETTLE_S = 1.0
ECHOAPEX = (sys.executable, "-c", "from echoapex.cli import main; main()")


class RunningNode:
    """A running node.

    Args:
        folder: for its settings and data.
        port: where it listens.
        settings: what differs from the settings of these tests.
    """

    def __init__(self, folder: Path, port: int, settings: dict[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        self.port, self.health_port = port, free_port()
        self.file = folder / "node.yaml"
        self.log = folder / "node.log"
        values = {
            "data": "data", "port": port, "accept_from": ["ORTHANC", "SENDER"], "settle_s": SETTLE_S,
            "limits": {"free_mb": 1}, "health": {"port": self.health_port},
            "retry": {"attempts": 4, "first_s": 0.2, "longest_s": 1.0, "lease_s": 20},
            "analysis": {"contours": "ed_es", "precision": "fp32"}, **settings,
        }  # fmt: skip
        self.file.write_text(yaml.safe_dump(values))
        self.config: NodeConfig = read_node_config(self.file)
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        with self.log.open("ab") as log:
            words = [*ECHOAPEX, "listen", str(self.file)]
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        until(self.listens, "the node listens")

    def listens(self) -> bool:
        """Whether it takes connections."""
        if self.process.poll() is not None:
            raise AssertionError(f"the node ended: {self.log.read_text()[-2000:]}")
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """End the listener at once, as by ``kill -9``; its workers have to end by themselves."""
        if self.process.poll() is None:
            below = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            _, alive = psutil.wait_procs(below, timeout=10)
            assert not alive, "a worker outlives its node"

    def stop(self) -> int:
        """End it in order, by SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database (SQLite) answers."""
        with sqlite3.connect(self.config.data / "node.db", timeout=30) as connection:
            return connection.execute(query).fetchall()

    def states(self) -> list[str]:
        """The state of each study."""
        return [row[0] for row in self.rows("SELECT state FROM studies")]

    def is_done(self) -> bool:
        """Whether there are studies and all are done."""
        return bool(states := self.states()) and set(states) == {"done"}

    def ask(self, path: str) -> str:
        """What its health server answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``echoapex listen`` with further words."""
        line = [*ECHOAPEX, "listen", *words]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ))
