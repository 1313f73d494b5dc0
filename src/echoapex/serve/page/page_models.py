"""The weights of the page: loaded once, when the first study needs them, and replaced when the site's set changes."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.outputs.reported_studies import describe_weights
from echoapex.infer.review.review_clip import ReviewModels
from echoapex.infer.study.analyze import NamedInterpreter
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.models.bundle import BundleError
from echoapex.models.precision import Precision, choose_device, choose_precision
from echoapex.models.registry import find_set
from echoapex.models.simulated_weights import SIMULATED_NOTE, advise_patients
from echoapex.serve.database import SETTINGS, Database
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.schemas import CurrentWeights
from echoapex.serve.page.security import PageError

_MOST_SETS = 3
_SETTING = "page_site_version"


class PageModels:
    """The models behind the page.

    Args:
        config: which set, and where it runs.
        database: remembers which of the site's own sets is current.
    """

    def __init__(self, config: PageConfig, database: Database) -> None:
        self._config = config
        self._database = database
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: dict[str, NamedInterpreter] = {}
        self._reviewing: dict[str, ReviewModels] = {}

    @property
    def site_version(self) -> int | None:
        """Number of the site's own set that is current; None for the set that was given."""
        with self._database.read() as connection:
            query = sa.select(SETTINGS.c.value).where(SETTINGS.c.name == _SETTING)
            value = connection.execute(query).scalar()
        return int(value) if value else None

    @property
    def bundle(self) -> str:
        """Name or folder of the current set."""
        version = self.site_version
        return self._config.bundle if version is None else str(self.site_folder(version))

    def site_folder(self, version: int) -> Path:
        """Folder of one of the site's own sets."""
        return self._config.state / "site" / str(version)

    def switch(self, version: int | None) -> None:
        """Use one of the site's own sets from now on, or the given one again.

        Raises:
            BundleError: there is no such set.
        """
        if version is not None:
            find_set(self.site_folder(version))
        with self._lock, self._database.begin() as connection:
            connection.execute(sa.delete(SETTINGS).where(SETTINGS.c.name == _SETTING))
            if version is not None:
                connection.execute(sa.insert(SETTINGS).values(name=_SETTING, value=str(version)))

    def check(self) -> None:
        """Refuse a set that is not there, before the page starts.

        Raises:
            BundleError: there is no such set.
            DeviceError: there is no such device here.
        """
        find_set(self.bundle)
        choose_device(self._config.device)

    def describe(self) -> CurrentWeights:
        """The current set for people."""
        paths = find_set(self.bundle)
        note = SIMULATED_NOTE if advise_patients(paths) else ""
        given = find_set(self._config.bundle).name
        return CurrentWeights(name=given, note=note, site_version=self.site_version)

    def review(self, stored: StoredAnalysis) -> ReviewModels:
        """The models that made an analysis, for clicks and corrections.

        Raises:
            PageError: they are not here any more.
        """
        wanted = frozenset(stored.report.bundles.values())
        sites = (str(self.site_folder(version)) for version in self._versions())
        for name in dict.fromkeys((self.bundle, stored.manifest.bundle, self._config.bundle, *sites)):
            try:
                found = self._reviewing_with(name)
            except BundleError:
                continue
            if frozenset(found.digests.values()) == wanted:
                return found
        raise PageError(
            f"the study was analysed with other weights ({stored.manifest.bundle}), which are not here; "
            "start the page with them (--bundle), or upload the study again",
            409,
        )

    def current_review(self) -> ReviewModels:
        """The current set, for the decoder in the browser."""
        return self._reviewing_with(self.bundle)

    def _reviewing_with(self, name: str) -> ReviewModels:
        models = self._named(name)
        with self._lock:
            if name not in self._reviewing or self._reviewing[name].interpreter is not models.interpreter:
                assert isinstance(models.interpreter, TaskInterpreter)
                self._reviewing[name] = ReviewModels.of(models.interpreter, models.bundle, models.device, name)
            return self._reviewing[name]

    def _versions(self) -> list[int]:
        """The site's own sets, the newest first."""
        found = [int(path.name) for path in (self._config.state / "site").glob("*") if path.name.isdigit()]
        return sorted(found, reverse=True)

    def load(self) -> NamedInterpreter:
        """The models, loaded at the first call.

        Raises:
            BundleError: the set is missing or damaged.
        """
        return self._named(self.bundle)

    def _named(self, name: str) -> NamedInterpreter:
        """A set, loaded once; a few are kept."""
        with self._loading:
            if name not in self._loaded:
                named = load_named(name, self._config.device, self._config.precision)
                while len(self._loaded) >= _MOST_SETS:
                    oldest = next(iter(self._loaded))
                    del self._loaded[oldest]
                    self._reviewing.pop(oldest, None)
                self._loaded[name] = named
            return self._loaded[name]


def load_named(name: str, device: str, precision: Precision) -> NamedInterpreter:
    """Load a set, with what its cards say.

    Raises:
        BundleError: the set is missing or damaged.
        DeviceError: there is no such device here.
    """
    place = choose_device(device)
    chosen = choose_precision(precision, place).name
    interpreter = TaskInterpreter.load(name, device, chosen)
    paths = find_set(name)
    note = SIMULATED_NOTE if advise_patients(paths) else ""
    return NamedInterpreter(
        interpreter, paths.name, str(place), chosen, note, describe_weights(interpreter.digests, paths)
    )
