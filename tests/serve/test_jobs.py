"""The queue gives each job to one worker, whatever dies; on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from moved_clock import Clock

from echoapex.serve.database import Database
from echoapex.serve.jobs import JobKind, JobQueue, LostClaimError, worker_name
from echoapex.serve.node_config import RetryRules

JOBS, WORKERS = 120, 2
CLAIMING = """
import sys
from echoapex.serve.database import Database
from echoapex.serve.jobs import JobKind, JobQueue, worker_name
from echoapex.serve.node_config import RetryRules
queue = JobQueue(Database(sys.argv[1]), RetryRules())
print("ready", flush=True)
sys.stdin.readline()
while job := queue.claim(worker_name(), [JobKind.SEND]):
    print(job.study_uid, flush=True)
    with queue.finishing(job):
        pass
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(database_url: str) -> Database:
    found = Database(database_url)
    found.migrate()
    return found


@pytest.fixture
def queue(database: Database, clock: Clock) -> JobQueue:
    return JobQueue(database, RetryRules(attempts=3, first_s=10, longest_s=15, lease_s=100), clock)


def add(database: Database, queue: JobQueue, *names: str) -> None:
    with database.begin() as connection:
        for name in names:
            queue.add(connection, JobKind.SEND, name, peer="archive")


def test_processes_claim_each_job_once(database: Database, database_url: str) -> None:
    queue = JobQueue(database, RetryRules())
    add(database, queue, *(f"1.2.{number}" for number in range(JOBS)))
    line = [sys.executable, "-c", CLAIMING, database_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(line, **pipes) for _ in range(WORKERS)]  # type: ignore[call-overload]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    outputs = []
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        outputs.append(worker.communicate(timeout=60)[0].split())
        assert worker.returncode == 0
    claimed = [name for output in outputs for name in output]
    assert sorted(claimed) == sorted(f"1.2.{number}" for number in range(JOBS))
    assert queue.counts() == {("send", "done"): JOBS}
    assert sum(bool(output) for output in outputs) == WORKERS, "one worker did everything"


def test_the_same_job_is_added_once(database: Database, queue: JobQueue) -> None:
    with database.begin() as connection:
        assert queue.add(connection, JobKind.SEND, "1.2", peer="a", digest="d")
        assert not queue.add(connection, JobKind.SEND, "1.2", peer="a", digest="d")
        assert queue.add(connection, JobKind.SEND, "1.2", peer="b", digest="d")
    assert queue.counts() == {("send", "ready"): 2}


def test_a_job_whose_worker_is_silent_goes_to_another(database: Database, queue: JobQueue, clock: Clock) -> None:
    add(database, queue, "1.2")
    first = queue.claim("a/1-0", [JobKind.SEND])
    assert first and queue.claim("b/1-0", [JobKind.SEND]) is None
    clock.now += 90
    queue.renew(first)
    clock.now += 90
    assert queue.claim("b/1-0", [JobKind.SEND]) is None
    clock.now += 11
    second = queue.claim("b/1-0", [JobKind.SEND])
    assert second and (second.id, second.attempts) == (first.id, 2)
    with pytest.raises(LostClaimError), queue.finishing(first) as connection:
        queue.add(connection, JobKind.COMMIT, "1.2")
    with pytest.raises(LostClaimError):
        queue.renew(first)
    with queue.finishing(second):
        pass
    assert queue.counts() == {("send", "done"): 1}


def test_waits_grow_until_a_person_has_to_look(database: Database, queue: JobQueue, clock: Clock) -> None:
    add(database, queue, "1.2")
    for wait_s in (10, 15):  # 10 doubled is more than the longest wait
        job = queue.claim("a/1-0", [JobKind.SEND])
        assert job and not queue.fail(job, "no answer")
        clock.now += wait_s - 0.5
        assert queue.claim("a/1-0", [JobKind.SEND]) is None
        clock.now += 1
    job = queue.claim("a/1-0", [JobKind.SEND])
    assert job and queue.fail(job, "no answer")
    clock.now += 1e6
    assert queue.claim("a/1-0", [JobKind.SEND]) is None
    (letter,) = queue.dead_letters()
    assert (letter.study_uid, letter.peer, letter.attempts, letter.reason) == ("1.2", "archive", 3, "no answer")
    assert queue.retry([letter.id + 1]) == 0
    assert queue.retry() == 1
    job = queue.claim("a/1-0", [JobKind.SEND])
    assert job and job.attempts == 1


def test_a_job_that_kills_each_worker_becomes_a_dead_letter(database: Database, queue: JobQueue, clock: Clock) -> None:
    add(database, queue, "1.2")
    for attempt in (1, 2, 3):
        job = queue.claim("a/1-0", [JobKind.SEND])
        assert job and job.attempts == attempt
        clock.now += 101
    assert queue.claim("a/1-0", [JobKind.SEND]) is None
    (letter,) = queue.dead_letters()
    assert letter.study_uid == "1.2" and "worker" in letter.reason


def test_a_job_that_goes_back_costs_no_attempt(database: Database, queue: JobQueue) -> None:
    add(database, queue, "1.2")
    for _ in range(5):
        job = queue.claim("a/1-0", [JobKind.SEND])
        assert job and job.attempts == 1
        queue.give_back(job)


def test_a_step_that_was_done_forgives_earlier_failures(database: Database, queue: JobQueue, clock: Clock) -> None:
    add(database, queue, "1.2")
    for _ in range(2):
        job = queue.claim("a/1-0", [JobKind.SEND])
        assert job
        queue.fail(job, "no")
        clock.now += 1e6
    job = queue.claim("a/1-0", [JobKind.SEND])
    assert job and job.attempts == 3
    queue.give_back(job, fresh=True)
    again = queue.claim("a/1-0", [JobKind.SEND])
    assert again and again.attempts == 1


def test_jobs_of_ended_processes_are_freed_at_once(database: Database, queue: JobQueue) -> None:
    add(database, queue, "1.2", "1.3")
    gone = subprocess.run(
        [sys.executable, "-c", "from echoapex.serve.jobs import worker_name; print(worker_name())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert queue.claim(gone, [JobKind.SEND]) and queue.claim(worker_name(), [JobKind.SEND])
    assert queue.release_ended() == 1
    again = queue.claim(worker_name(), [JobKind.SEND])
    assert again and (again.study_uid, again.attempts) == ("1.2", 2)


def test_nothing_of_a_failed_transaction_stays(database: Database, queue: JobQueue) -> None:
    add(database, queue, "1.2")
    job = queue.claim("a/1-0", [JobKind.SEND])
    assert job
    with pytest.raises(OSError, match="power"), queue.finishing(job) as connection:
        queue.add(connection, JobKind.COMMIT, "1.2")
        raise OSError("power cut")
    assert queue.counts() == {("send", "claimed"): 1}


def test_sqlite_waits_for_the_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
