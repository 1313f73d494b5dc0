"""The weights of the page: loaded once, when the first study needs them, and replaced when the site's set changes."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.outputs.reported_studies import describe_weights
from echoapex.infer.study.analyze import NamedInterpreter
from echoapex.models.precision import choose_device, choose_precision
from echoapex.models.registry import find_set
from echoapex.models.simulated_weights import SIMULATED_NOTE, advise_patients
from echoapex.serve.database import SETTINGS, Database
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.schemas import CurrentWeights

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
        self._loaded: NamedInterpreter | None = None

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
            self._loaded = None

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
        return CurrentWeights(name=paths.name, note=note, site_version=self.site_version)

    def load(self) -> NamedInterpreter:
        """The models, loaded at the first call.

        Raises:
            BundleError: the set is missing or damaged.
        """
        with self._lock:
            if self._loaded is None:
                device = choose_device(self._config.device)
                precision = choose_precision(self._config.precision, device).name
                interpreter = TaskInterpreter.load(self.bundle, self._config.device, precision)
                paths = find_set(self.bundle)
                note = SIMULATED_NOTE if advise_patients(paths) else ""
                weights = describe_weights(interpreter.digests, paths)
                self._loaded = NamedInterpreter(interpreter, paths.name, str(device), precision, note, weights)
            return self._loaded
