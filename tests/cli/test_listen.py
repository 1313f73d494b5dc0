"""`echoapex listen` as a person types it: the peers, the jobs, the dead letters, and one line for each mistake."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from real_peers import free_port

from echoapex.cli import listen as verb
from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.serve.jobs import JobKind
from echoapex.serve.node_config import read_node_config
from echoapex.serve.service import NodeService
from echoapex.serve.worker import NodeParts

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "dicom-node.md").read_text(encoding="utf-8")
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings with a peer that nobody is."""
    peer = {"ae_title": "NOBODY", "host": "127.0.0.1", "port": free_port(), "timeout_s": 2}
    path = tmp_path / "node.yaml"
    path.write_text(yaml.safe_dump({"data": "data", "accept_from": ["PACS"], "peers": {"archive": peer}}))
    return path


@pytest.fixture
def parts(settings: Path) -> NodeParts:
    """The parts of a node that has run."""
    service = NodeService(read_node_config(settings))
    service._lock.close()
    return service.parts


def words(*given: object) -> list[str]:
    return ["listen", *map(str, given)]


def test_a_silent_peer_is_named(settings: Path, capsys: Captured) -> None:
    assert run(words("peers", settings)) == ExitCode.SOME_FILES_FAILED
    assert "cannot be reached; check host, port and TLS" in " ".join(capsys.readouterr().out.split())
    assert run(words("find", settings, "archive", "--date", "20260101-")) == ExitCode.USAGE
    assert capsys.readouterr().err == "echoapex listen: archive: cannot be reached; check host, port and TLS\n"


def test_dead_letters_are_shown_without_uids_and_tried_again(
    settings: Path, parts: NodeParts, capsys: Captured
) -> None:
    assert run(words("pull", settings, "archive", "1.2.840.77", "1.2.840.78")) == ExitCode.ALL_GOOD
    job = parts.queue.claim("test/1-0", [JobKind.RETRIEVE])
    assert job and parts.queue.fail(job, "archive: refuses", for_good=True)
    capsys.readouterr()
    assert run(words("jobs", settings)) == ExitCode.ALL_GOOD
    shown = capsys.readouterr().out
    assert re.search(
        rf"^{job.id} +retrieve +{parts.studies.key_of(job.study_uid)} +archive +1 +archive: refuses", shown, re.M
    )
    assert job.study_uid not in shown
    assert run(words("retry", settings, 999)) == ExitCode.ALL_GOOD
    assert parts.queue.dead_letters()
    assert run(words("retry", settings)) == ExitCode.ALL_GOOD
    assert parts.queue.counts() == {("retrieve", "ready"): 2}


def test_pulling_again_is_one_job(settings: Path, parts: NodeParts) -> None:
    for _ in range(2):
        assert run(words("pull", settings, "archive", "1.2.840.77")) == ExitCode.ALL_GOOD
        job = parts.queue.claim("test/1-0", [JobKind.RETRIEVE])
        assert job
        with parts.queue.finishing(job):
            pass
    assert parts.queue.counts() == {("retrieve", "done"): 1}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda path: path.unlink(), "node.yaml: cannot be read"),
        (lambda path: path.write_text("host: 0.0.0.0\ndata: d\naccept_from: [A]\n"), "allow_network: true"),
        (lambda path: path.write_text("data: d\naccept_from: [A]\ntyp: 1\n"), "typ: unknown key"),
    ],
)
def test_mistakes_are_one_line(settings: Path, change: Callable[[Path], object], line: str, capsys: Captured) -> None:
    change(settings)
    assert run(words(settings)) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1


def test_a_node_that_never_ran_has_no_jobs(settings: Path, capsys: Captured) -> None:
    assert run(words("jobs", settings)) == ExitCode.USAGE
    assert "start the node first" in capsys.readouterr().err
    assert run(words("pull", settings, "nobody", "1.2")) == ExitCode.USAGE


def test_what_is_missing_is_named(settings: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "find_spec", lambda name: None if name == "pynetdicom" else object())
    with pytest.raises(SystemExit):
        run(words("jobs", settings))
    assert "pip install 'echoapex[node]'" in capsys.readouterr().err


def test_the_settings_of_the_guide_are_valid(tmp_path: Path) -> None:
    first, *others = re.findall(r"```yaml\n(.*?)```", GUIDE, re.S)
    (tmp_path / "node.yaml").write_text(first)
    plain = read_node_config(tmp_path / "node.yaml")
    assert plain.send_to == ("archive",)
    for name in ("node.pem", "node.key", "hospital-ca.pem"):
        (tmp_path / name).touch()
    changed = []
    for other in others:
        (tmp_path / "node.yaml").write_text(yaml.safe_dump({**yaml.safe_load(first), **yaml.safe_load(other)}))
        changed.append(read_node_config(tmp_path / "node.yaml"))
    assert [one.analysis.results for one in changed if one.analysis != plain.analysis] == [("sr", "seg", "sc", "pdf")]
    (secured,) = (one for one in changed if one.require_tls)
    assert secured.tls.ca == tmp_path / "hospital-ca.pem"


def test_the_commands_of_the_guide_run(settings: Path, parts: NodeParts, capsys: Captured) -> None:
    """Each command line of the guide that does not wait; with settings whose peers are silent."""
    lines = [line for line in re.findall(r"^echoapex listen .*", GUIDE, re.M) if line != "echoapex listen node.yaml"]
    assert len(lines) == 6
    values = yaml.safe_load(settings.read_text())
    values["peers"]["web"] = {"url": f"http://127.0.0.1:{free_port()}/dicom-web", "timeout_s": 2}
    settings.write_text(yaml.safe_dump(values))
    for line in lines:
        typed = [str(settings) if word == "node.yaml" else word for word in shlex.split(line)[1:]]
        code = run(typed)
        told = capsys.readouterr().err
        reached = typed[1] not in ("peers", "find")
        assert code == (ExitCode.ALL_GOOD if reached else ExitCode.SOME_FILES_FAILED if typed[1] == "peers" else 2), (
            line
        )
        assert "cannot be reached" in told if typed[1] == "find" else "Traceback" not in told
    assert parts.queue.counts() == {("retrieve", "ready"): 2}
