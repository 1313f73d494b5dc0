"""The parts of a DICOM node in the process of a test, and what tests do with them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from echoapex.serve.dicom_node import DicomNode, StorageHandler
from echoapex.serve.instance_file import read_instance_header
from echoapex.serve.jobs import Job, JobKind
from echoapex.serve.ledger import ResultObject
from echoapex.serve.worker import NodeParts


@dataclass
class Workplace:
    """The parts of a node in this process, and what tests do with them."""

    parts: NodeParts
    results: list[ResultObject]

    def listen(self) -> tuple[DicomNode, StorageHandler]:
        """Start the listener in this process."""
        handler = StorageHandler(self.parts.studies, self.parts.config.limits.instance_mb)
        return DicomNode(self.parts.config, handler, self.parts.ledger), handler

    def take(self, files: list[Path]) -> str:
        """Take instances as if they had come; returns the study UID."""
        for path in files:
            header = read_instance_header(path.read_bytes())
            assert header
            self.parts.studies.take(path.read_bytes(), header)
        return header.study_uid

    def claim(self, *kinds: JobKind) -> Job:
        """The next job that is due."""
        job = self.parts.queue.claim("test/1-0", kinds or tuple(JobKind))
        assert job is not None
        return job

    def have_results(self, files: list[Path]) -> None:
        """Bring the study to the point where its analysis is done and its results wait to be sent."""
        study_uid = self.take(files)
        assert self.parts.studies.settle(0.0) == 1
        job = self.claim(JobKind.ANALYZE)
        key = self.parts.studies.key_of(study_uid)
        kept = []
        for one in self.results:
            place = self.parts.config.data / "results" / key / one.path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(one.path, place)
            kept.append(ResultObject(one.sop_uid, one.sop_class, one.series_uid, study_uid, place))
        with self.parts.queue.finishing(job) as connection:
            assert self.parts.studies.is_current(connection, study_uid, job.digest)
            self.parts.ledger.add(connection, job, kept, self.parts.config.send_to)
            self.parts.studies.advance(connection, study_uid)

    def send_states(self) -> dict[str, int]:
        """How many sendings there are, by state."""
        return self.parts.ledger.counts()
