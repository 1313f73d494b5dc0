"""The settings of a node: safe by default, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from echoapex.config import ConfigError
from echoapex.serve.node_config import NodeConfig, is_loopback, read_node_config, secret_from

SMALLEST = {"data": "data", "accept_from": ["PACS"]}


def write(folder: Path, **values: Any) -> Path:
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump({**SMALLEST, **values}))
    return path


def test_by_default_only_this_machine_is_listened_to(tmp_path: Path) -> None:
    config = read_node_config(write(tmp_path))
    assert (config.host, config.health.host, config.allow_network) == ("127.0.0.1", "127.0.0.1", False)
    assert config.data == tmp_path / "data"
    assert config.database_url == f"sqlite:///{tmp_path / 'data' / 'node.db'}"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"host": "0.0.0.0"}, "allow_network: true"),
        ({"health": {"host": "192.0.2.1"}}, "allow_network: true"),
        ({"accept_from": []}, "accept_from"),
        ({"ae_title": "LONGER THAN SIXTEEN"}, "ae_title"),
        ({"analysis": {"results": ["sr", "pds"]}}, "analysis.results"),
        ({"analysis": {"results": []}}, "analysis.results"),
        ({"analysis": {"templates": ["5201"]}}, "analysis.templates"),
        ({"worklist": {"url": "http://w/ups", "fetch_from": "web"}}, "worklist.fetch_from names 'web'"),
        (
            {"worklist": {"url": "http://w/ups", "fetch_from": "web"}, "peers": {"web": {"url": "http://w/dicom-web"}}},
            "a worklist needs send_to",
        ),
        ({"worklist": {"url": "ftp://w", "fetch_from": "web"}}, "worklist.url"),
        ({"send_to": ["archive"]}, "which is not in peers"),
        ({"require_tls": True}, "TLS needs"),
        ({"limits": {"free_gb": 1}}, "limits.free_gb: unknown key; did you mean 'free_mb'?"),
        ({"settle": 1}, "did you mean 'settle_s'?"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, values: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_node_config(write(tmp_path, **values))
    assert line in str(caught.value)
    assert str(caught.value).startswith("node.yaml: ")


def test_other_addresses_need_an_explicit_option(tmp_path: Path) -> None:
    assert read_node_config(write(tmp_path, host="0.0.0.0", allow_network=True)).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pacs", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_passwords_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_TEST_PASSWORD", "word")
    assert secret_from("NODE_TEST_PASSWORD") == "word"
    assert secret_from("") == ""
    with pytest.raises(ConfigError, match="NODE_TEST_OTHER"):
        secret_from("NODE_TEST_OTHER")


def test_results_of_workitems_lie_at_a_peer_that_gets_them(tmp_path: Path) -> None:
    peers = {"web": {"url": "http://w/dicom-web"}, "other": {"url": "http://o/dicom-web"}}
    worklist = {"url": "http://w/ups", "fetch_from": "web", "ca": "ca.pem"}
    config = read_node_config(write(tmp_path, peers=peers, send_to=["web"], worklist=worklist))
    assert config.worklist and config.worklist.ca == tmp_path / "ca.pem"
    with pytest.raises(ConfigError, match=r"worklist.results_at names 'other'"):
        read_node_config(write(tmp_path, peers=peers, send_to=["web"], worklist={**worklist, "results_at": "other"}))


def test_an_unknown_peer(tmp_path: Path) -> None:
    config = NodeConfig.model_validate({**SMALLEST, "peers": {"web": {"url": "https://pacs/dicom-web"}}})
    with pytest.raises(ConfigError, match="known: web"):
        config.peer("archive")
