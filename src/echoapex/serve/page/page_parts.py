"""What all parts of the page share, put together once."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import IO, Annotated

from fastapi import Depends, Request

from echoapex.infer.clip_embedder import ClipEmbedder
from echoapex.models.registry import find_set
from echoapex.serve.database import Database
from echoapex.serve.folder_lock import lock_folder
from echoapex.serve.node_config import NodeConfig, read_node_config
from echoapex.serve.page.archive import Archive
from echoapex.serve.page.calipers import CaliperBox
from echoapex.serve.page.cine import Cines
from echoapex.serve.page.clip_inputs import ClipInputs
from echoapex.serve.page.corrections import ClipCorrections
from echoapex.serve.page.events import Events
from echoapex.serve.page.exports import Exports
from echoapex.serve.page.found_studies import FoundStudies
from echoapex.serve.page.learning import LearningLoop
from echoapex.serve.page.open_clips import OpenClips
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_models import PageModels
from echoapex.serve.page.reviews import Reviews
from echoapex.serve.page.schemas import PageState, Role, StudyRow
from echoapex.serve.page.security import PageError
from echoapex.serve.page.sessions import PageSession, Sessions
from echoapex.serve.page.steps import Steps
from echoapex.serve.page.study_list import StudyList
from echoapex.serve.page.study_results import StudyResults
from echoapex.serve.page.uploads import Uploads
from echoapex.serve.page.work_queue import WorkQueue

_LOG = logging.getLogger("echoapex.page")
_ROOMS = ("inputs", "results", "reviewed", "corrections", "cache", "site", "learning")


@dataclass(frozen=True)
class PageParts:
    """The parts of a page.

    Attributes:
        config: its settings.
        database: its tables.
        archive: the clips as vectors.
        learning: runs of learning from corrections.
        events: news for browsers.
        sessions: who uses it.
        models: the weights.
        studies: the list.
        results: what is stored of studies.
        inputs: files of clips.
        cines: pictures of clips.
        steps: what can be undone.
        reviews: what readers decided.
        uploads: takes files.
        clips: open clips.
        corrections: of clips.
        calipers: of clips.
        exports: makes files.
        peers: settings of the node whose peers can be sent to; None for none.
        queue: analyses studies.
        lock: keeps a second server out of the folder.
    """

    config: PageConfig
    database: Database
    archive: Archive
    learning: LearningLoop
    events: Events
    sessions: Sessions
    models: PageModels
    studies: StudyList
    results: StudyResults
    inputs: ClipInputs
    cines: Cines
    steps: Steps
    reviews: Reviews
    uploads: Uploads
    clips: OpenClips
    corrections: ClipCorrections
    calipers: CaliperBox
    exports: Exports
    peers: NodeConfig | None
    queue: WorkQueue
    lock: IO[str]

    @classmethod
    def open(cls, config: PageConfig) -> PageParts:
        """Open the folder and the database of a page; nothing runs yet.

        Raises:
            ConfigError: the folder cannot be used, another server uses it, or the tokens file is wrong.
            DatabaseError: the database cannot be used.
        """
        lock = lock_folder(
            config.state, "page", "--state", "another server uses this folder; stop it, or give another --state", _ROOMS
        )
        database = Database(config.database_url)
        database.migrate()
        (config.state / "state.db").chmod(0o600)
        events, limits = Events(), config.limits
        archive_news = threading.Event()

        def changed(row: StudyRow) -> None:
            events.send("study", row)
            if row.state is PageState.READY:
                archive_news.set()

        studies = StudyList(database, changed)
        results = StudyResults(config.state, studies)
        inputs = ClipInputs(config.state / "cache", results, database.secret())
        steps = Steps(database, limits.steps)
        reviews = Reviews(database, studies, results, inputs, steps)
        models = PageModels(config, database)
        clips = OpenClips(limits, models, results, inputs)
        corrections = ClipCorrections(config.state, studies, reviews, clips, inputs, steps)
        return cls(
            config=config,
            database=database,
            archive=Archive(
                config.state / "cache", studies, results, inputs, lambda: _load_embedder(config), archive_news
            ),
            learning=LearningLoop(
                config.state, config.bundle, config.device, models, lambda run: events.send("learning", run)
            ),
            events=events,
            sessions=Sessions(database, config.tokens, limits),
            models=models,
            studies=studies,
            results=results,
            inputs=inputs,
            cines=Cines(config.state / "cache", inputs, results, limits.cache_mb),
            steps=steps,
            reviews=reviews,
            uploads=Uploads(config.state / "inputs", limits, studies, database.secret()),
            clips=clips,
            corrections=corrections,
            calipers=CaliperBox(database, reviews, studies, steps),
            exports=Exports(studies, reviews, corrections, inputs),
            peers=read_node_config(config.peers) if config.peers else None,
            queue=WorkQueue(config, studies, models, reviews.refresh),
            lock=lock,
        )

    def start(self) -> None:
        """Begin to analyse and to learn, and to take over the studies that the settings name."""
        self.learning.start()
        self.archive.start()
        place, found = (
            self.config.studies,
            FoundStudies(self.config.state / "inputs", self.studies, self.database.secret()),
        )
        self.queue.start((lambda stop: _LOG.info("%d new studies", found.take_over(place, stop))) if place else None)

    def close(self) -> None:
        """End in order: no news, the clip in work is finished, the database is closed."""
        self.events.close()
        self.learning.close()
        self.archive.close()
        self.queue.stop()
        self.cines.close()
        self.clips.forget()
        self.database.engine.dispose()
        self.lock.close()


def _load_embedder(config: PageConfig) -> ClipEmbedder:
    """The encoder of the set that was given: the site's own sets have the same one."""
    return ClipEmbedder.load(find_set(config.bundle).encoder, config.device, config.precision)


def parts_of_request(request: Request) -> PageParts:
    """The parts of the page that a request came to."""
    parts: PageParts = request.app.state.parts
    return parts


def session_of_request(request: Request) -> PageSession:
    """Who sent a request.

    Raises:
        PageError: nobody is logged in.
    """
    session: PageSession | None = request.scope.get("state", {}).get("session")
    if session is None:
        raise PageError("log in first: your session has ended, or there was none", 401)
    return session


def admin_of_request(request: Request) -> PageSession:
    """Who sent a request that only an admin may send.

    Raises:
        PageError: it was another user.
    """
    session = session_of_request(request)
    if not session.role.includes(Role.ADMIN):
        raise PageError("only an admin may do this; ask for the role admin", 403)
    return session


Parts = Annotated[PageParts, Depends(parts_of_request)]
User = Annotated[PageSession, Depends(session_of_request)]
Admin = Annotated[PageSession, Depends(admin_of_request)]
