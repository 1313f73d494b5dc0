"""More than 2,000 invented identifiers in names of files, of folders and in headers: none comes out of anything."""

from __future__ import annotations

import csv
import itertools
import json
import re
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import LabelledStudy
from drawn_studies import draw_fan_clip, write_fan_clip
from journeys.test_analyze_journey import everything_in
from pdf_text import page_texts
from pyarrow import parquet

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.infer.clip.models import TaskInterpreter

WANTED = 2000
SHOWN = re.compile(r"(clip|file)-[0-9a-f]{16}( entry \d+| image \d+)?")
_SURNAMES = ("Qvist", "Zwölfender", "Ångström", "Yxkull", "Óskarsdóttir", "Krötzsch", "Nguyễnová", "Żurawlew")
_SYLLABLES = ("zor", "qua", "vix", "ply", "wum", "jaf", "gho", "ryk", "tze", "bok")
_JAPANESE = ("東条", "佐伯", "鵜飼", "久米", "丹羽", "榎本", "辻村", "江波")


def invented(count: int) -> Iterator[str]:
    """Names of many kinds, and numbers and dates with other separators; no two alike."""
    rng = np.random.default_rng(7)
    for number in range(count):
        syllables = "".join(rng.choice(_SYLLABLES, 3)).capitalize()
        day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1911, 1960)
        digits = f"{rng.integers(10**7, 10**8)}"
        yield (
            f"{rng.choice(_SURNAMES)}{number}",
            f"{syllables}-{rng.choice(_SURNAMES)}{number}",
            unicodedata.normalize("NFD", f"Ö{syllables}é{number}"),
            f"{rng.choice(_JAPANESE)}{number}",
            f"{digits[:3]}-{digits[3:6]}.{digits[6:]}",
            f"{day:02d}.{month:02d}.{year}-{number}",
            f"{year}_{month:02d}_{day:02d}_{number}",
            f"MRN{digits}",
            f"{syllables}_{digits}",
            f"{''.join(rng.choice(list('QXZJVK'), 2))}{number}",
        )[number % 10]


SHORT = ("Ng", "Wu", "Oh", "Xu", "Ek", "Ó", "東条", "佐伯", "久米", "李", "Łę")
"""Names of one or two letters: looked for as whole words."""

_HEADER = (
    *("PatientName", "PatientID", "AccessionNumber", "ReferringPhysicianName", "PerformingPhysicianName"),
    *("InstitutionName", "InstitutionalDepartmentName", "StationName", "StudyDescription", "SeriesDescription"),
    *("OperatorsName", "OtherPatientNames", "PatientComments", "ImageComments", "StudyID", "DeviceSerialNumber"),
    *("RequestingPhysician", "PatientAddress", "PatientTelephoneNumbers", "ProtocolName", "PatientMotherBirthName"),
)


def forms(secret: str) -> set[bytes]:
    """The forms in which a secret could come out: composed and decomposed, in any case, quoted for JSON, cut apart."""
    found = {unicodedata.normalize(form, secret) for form in ("NFC", "NFD")}
    found |= {change(each) for each in tuple(found) for change in (str.lower, str.upper)}
    found |= {json.dumps(each)[1:-1] for each in tuple(found)}
    bare = re.sub(r"[-._ ]", "", secret)
    found |= {bare} if len(bare) > 5 else set()
    return {each.encode() for each in found} | {each.encode("utf-16-le") for each in found}


class Archive:
    """Folders of good and broken files that carry identifiers wherever there is room for one."""

    def __init__(self, root: Path, clips: list[Path]) -> None:
        self._source = invented(10_000)
        self.secrets: list[str] = []
        self.root = root
        short = itertools.cycle(SHORT)
        for clip in clips:
            folder = root / self._next() / f"{self._next()} {next(short)}" / self._next()
            folder.mkdir(parents=True)
            dataset = pydicom.dcmread(clip)
            dataset.SpecificCharacterSet = "ISO_IR 192"
            for keyword in _HEADER:
                setattr(dataset, keyword, self._next())
            dataset.PatientBirthDate = "19330417"
            dataset.save_as(folder / f"{self._next()}_{next(short)}_A4C.dcm")
            (folder / f"{self._next()}^{next(short)}.dcm").write_bytes(b"\0" * 128 + b"DICM" + self._next().encode())
            (folder / f"{self._next()}.avi").write_bytes(b"RIFF\0\0\0\0AVI ")
            with zipfile.ZipFile(folder / f"{self._next()}.zip", "w") as packed:
                packed.writestr(f"{self._next()}/{self._next()}.dcm", b"")
                packed.writestr(f"../{self._next()}.dcm", b"x")
        while len(self.secrets) < WANTED:
            folder = root / f"{self._next()} {next(short)}"
            folder.mkdir()
            for suffix in ("dcm", "mp4", "png", "nii.gz", "mhd", "bin"):
                (folder / f"{next(short)} {self._next()} {self._next()}.{suffix}").write_bytes(b"\0\1")

    def _next(self) -> str:
        self.secrets.append(next(self._source))
        return self.secrets[-1]

    def leaks(self, found: bytes) -> list[str]:
        """The secrets that are in the bytes."""
        whole = [secret for secret in self.secrets if any(form in found for form in forms(secret))]
        words = set(re.findall(r"\w+", found.decode("utf-8", "ignore")))
        return [*whole, *(name for name in SHORT if name in words or f"{name}_A4C" in words)]


def without_base64(text: bytes) -> bytes:
    """A text without what is packed in it: pictures, and in FHIR the report, which is a file of its own too."""
    return re.sub(rb"[A-Za-z0-9+/=]{400,}", b"", text)


def hidden_text(path: Path) -> bytes:
    """What a PDF or a Parquet file says, unpacked; metadata included."""
    if path.suffix == ".pdf":
        content = path.read_bytes()
        metadata = b"\n".join(re.findall(rb"/[A-Z][A-Za-z]+ \([^)]*\)", content))
        return metadata + "\n".join(page_texts(content)).encode()
    if path.suffix == ".parquet":
        table = parquet.read_table(path)
        return json.dumps(table.to_pylist(), ensure_ascii=False).encode() + repr(table.schema.metadata).encode()
    return b""


def test_no_identifier_leaves_an_analysis(
    labelled_study: LabelledStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(TaskInterpreter, "load", classmethod(lambda *_: labelled_study.oracle))
    archive = Archive(tmp_path / "in", [labelled_study.folder / "PLAX.dcm", labelled_study.folder / "A4C.dcm"])
    out = tmp_path / "results"
    assert len(archive.secrets) >= WANTED

    files = ["--report", "--fhir", "--cohort", "both"]
    code = run(["analyze", str(archive.root), "--out", str(out), "--contours", "ed_es", *files])

    assert code == ExitCode.SOME_FILES_FAILED
    names = {path.name for path in out.rglob("*")}
    assert {"report.html", "cohort.csv", "cohort.parquet"} <= names
    assert {path.suffix for path in (*out.glob("reports/*"), *out.glob("report.pdf"))} >= {".pdf"}
    assert list(out.glob("fhir/*.json"))
    report = json.loads((out / "results.json").read_text())
    assert len(report["clips"]) == 2
    assert len(report["errors"]) > 300
    console = capfd.readouterr()
    texts = [path for path in out.rglob("*") if path.suffix in (".json", ".csv", ".html")]
    pictures = [path for path in out.rglob("*") if path.is_file() and path not in texts]
    told = b"\n".join(without_base64(path.read_bytes()) for path in texts) + (console.out + console.err).encode()
    told += b"\n".join(hidden_text(path) for path in pictures)
    told += b"\n".join(str(path.relative_to(out)).encode() for path in out.rglob("*"))
    leaked = archive.leaks(told)
    leaked += [s for s in archive.secrets if len(s) > 5 and any(s.encode() in path.read_bytes() for path in pictures)]
    assert leaked == []
    with (out / "errors.csv").open(newline="") as file:
        shown = [row["file"] for row in csv.DictReader(file)]
    shown += [clip[key] for clip in report["clips"] for key in ("file", "clip_id")]
    assert [name for name in shown if not SHOWN.fullmatch(name)] == []
    files = json.loads((tmp_path / "results.names.json").read_text())["files"]
    assert {SHOWN.fullmatch(name).group(0).split(" ")[0] for name in shown} <= set(files)  # type: ignore[union-attr]
    assert all(str(archive.root) in place for place in files.values())
    assert archive.leaks(json.dumps(files, ensure_ascii=False).encode())  # the search for leaks can find some


def test_the_same_command_gives_the_same_names(
    labelled_study: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskInterpreter, "load", classmethod(lambda *_: labelled_study.oracle))
    command = ["analyze", str(labelled_study.folder / "PLAX.dcm"), "--out", str(tmp_path / "o"), "--no-overlays"]
    run([*command, "--quiet"])
    first = everything_in(tmp_path / "o" / "clips")
    run([*command, "--quiet"])

    assert everything_in(tmp_path / "o" / "clips") == first
    assert json.loads((tmp_path / "o" / "manifest.json").read_text())["clips_reused"] == 1
    assert run([*command, "--names", str(tmp_path / "o" / "names.json")]) == ExitCode.USAGE


def test_no_identifier_enters_a_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clips = [write_fan_clip(tmp_path / f"{seed}.dcm", draw_fan_clip(seed, frames=2), seed) for seed in range(2)]
    archive = Archive(tmp_path / "in", clips)
    store = tmp_path / "store"

    code = run(["ingest", str(archive.root), "--out", str(store), "--size", "64", "--workers", "1"])

    assert code == ExitCode.SOME_FILES_FAILED
    console = capfd.readouterr()
    found = everything_in(store)
    leaked = [s for s in archive.secrets if len(s) > 5 and any(form in found for form in forms(s))]
    told = (store / "ledger.csv").read_bytes() + (store / "manifest.json").read_bytes()
    assert [*leaked, *archive.leaks(told + (console.out + console.err).encode())] == []
