"""Finding clips in everything a person may give."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_files import shared_data
from synthetic_dicom import moving_frames, write_native
from synthetic_files import mark_encrypted, write_dicomdir, write_meta_image, write_zip

from echoapex.io.clip_file import ClipFile, ClipKind, open_clip
from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits
from echoapex.io.deidentify import FileNames
from echoapex.io.study_files import find_clips

FRAMES = moving_frames(3, colours=1)


def _dicom(path: Path, **elements: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_native(path, FRAMES, "MONOCHROME2", **elements)


def _png(path: Path, level: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30), level, np.uint8)).save(path)
    return path


def _find(*paths: Path | str, **options: object) -> tuple[list[ClipFile], list[ReadError]]:
    items = list(find_clips(paths, **{"keep_identifiers": True, **options}))
    return [each for each in items if isinstance(each, ClipFile)], [
        each for each in items if isinstance(each, ReadError)
    ]


def test_a_folder_is_walked_in_one_order_and_junk_is_silent(tmp_path: Path) -> None:
    _dicom(tmp_path / "b" / "IM0002")
    _dicom(tmp_path / "a" / "IM0001.dcm")
    _png(tmp_path / "still.png")
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "table.csv", "truth.json", "LICENSE", "b/.hidden/x.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"some text\n")

    clips, errors = _find(tmp_path)

    assert [clip.display_name for clip in clips] == ["still.png", "a/IM0001.dcm", "b/IM0002"]
    assert [clip.kind for clip in clips] == [ClipKind.STILL_IMAGE, ClipKind.DICOM, ClipKind.DICOM]
    assert errors == []
    assert len({clip.clip_id for clip in clips}) == 3


def test_junk_that_is_named_explicitly_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some text")

    _, (error,) = _find(tmp_path / "notes.txt")

    assert error.path == "notes.txt"
    assert "no format that can be read" in error.reason


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.dcm", b"", "is empty"),
        ("text.dcm", b"this is no DICOM", "is no dicom file"),
        ("noise", bytes(range(256)) * 3, "no format that can be read"),
        ("broken.nii.gz", b"\x1f\x8b" + bytes(50), "is no nifti_gz file"),
        ("samples.raw", bytes(range(256)), "no format that can be read"),
    ],
)
def test_a_bad_file_is_one_error_and_the_rest_is_found(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    _dicom(tmp_path / "good.dcm")

    clips, (error,) = _find(tmp_path)

    assert [clip.display_name for clip in clips] == ["good.dcm"]
    assert error.path == name
    assert reason in error.reason


def test_content_beats_the_extension(tmp_path: Path) -> None:
    _dicom(tmp_path / "clip.avi")
    _png(tmp_path / "image.png").rename(tmp_path / "image.dcm")

    clips, errors = _find(tmp_path)

    assert [(clip.kind, clip.flags) for clip in clips] == [
        (ClipKind.DICOM, (ReadFlag.WRONG_EXTENSION,)),
        (ClipKind.STILL_IMAGE, (ReadFlag.WRONG_EXTENSION,)),
    ]
    assert errors == []
    assert ReadFlag.WRONG_EXTENSION in open_clip(clips[0]).header.flags


def test_dicom_without_preamble_is_recognised(tmp_path: Path) -> None:
    whole = _dicom(tmp_path / "whole").read_bytes()
    (tmp_path / "bare").write_bytes(whole[132:])
    (tmp_path / "whole").unlink()

    (clip,), _ = _find(tmp_path)

    assert clip.kind is ClipKind.DICOM
    assert open_clip(clip).header.frame_count == 3


def test_a_numbered_series_is_one_clip_unless_something_is_beside_it(tmp_path: Path) -> None:
    for number in (0, 1, 2, 10):
        _png(tmp_path / "A4C" / f"{number:03d}.png", number)
        _png(tmp_path / "mixed" / f"{number:03d}.png", number)
    (tmp_path / "A4C" / ".DS_Store").write_bytes(b"x")
    _png(tmp_path / "mixed" / "overview.png")

    clips, errors = _find(tmp_path)

    assert errors == []
    assert [clip.display_name for clip in clips if clip.kind is ClipKind.IMAGE_SERIES] == ["A4C"]
    assert sum(clip.kind is ClipKind.STILL_IMAGE for clip in clips) == 5
    opened = open_clip(clips[0])
    assert [int(frame[0, 0]) for frame in opened.frames()] == [0, 1, 2, 10]
    assert opened.header.clip_id == clips[0].clip_id
    (direct,), _ = _find(tmp_path / "A4C")
    assert direct.display_name == "A4C"


def test_a_file_given_twice_is_found_once(tmp_path: Path) -> None:
    path = _dicom(tmp_path / "a.dcm")
    (tmp_path / "link.dcm").symlink_to(path)

    clips, errors = _find(path, tmp_path, str(path), tmp_path / "." / "a.dcm")

    assert len(clips) == 1
    assert errors == []


def test_equal_names_from_two_folders_stay_apart(tmp_path: Path) -> None:
    clips, _ = _find(_dicom(tmp_path / "a" / "x.dcm"), _dicom(tmp_path / "b" / "x.dcm"))

    assert [clip.display_name for clip in clips] == ["x.dcm", "x.dcm (2)"]
    assert clips[0].clip_id != clips[1].clip_id


def test_what_does_not_exist_and_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    _, errors = _find(tmp_path / "nothing.dcm", tmp_path / "pipe")

    assert [error.reason for error in errors] == ["does not exist", "is no regular file"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    _dicom(tmp_path / "a" / "x.dcm")
    (tmp_path / "a" / "again").symlink_to(tmp_path)

    clips, _ = _find(tmp_path)

    assert len(clips) == 1


def test_results_and_annotations_are_passed_over(tmp_path: Path) -> None:
    _png(tmp_path / "out" / "preview.png")
    for name in ("results.json", "manifest.json"):
        (tmp_path / "out" / name).write_text("{}")
    write_meta_image(tmp_path / "patient0001_4CH_ED.mhd", np.zeros((8, 6), np.uint8))
    write_meta_image(tmp_path / "patient0001_4CH_ED_gt.mhd", np.zeros((8, 6), np.uint8))

    clips, errors = _find(tmp_path)

    assert [clip.display_name for clip in clips] == ["patient0001_4CH_ED.mhd"]
    assert errors == []


def test_a_dicomdir_gives_its_files_once_and_names_the_missing(tmp_path: Path) -> None:
    _dicom(tmp_path / "IMAGES" / "B2")
    _dicom(tmp_path / "IMAGES" / "A1")
    path = write_dicomdir(tmp_path, ["IMAGES", "B2"], ["IMAGES", "A1"], ["IMAGES", "GONE"])

    clips, (error,) = _find(path)
    again, (same,) = _find(tmp_path)

    assert [clip.display_name for clip in clips] == ["IMAGES/B2", "IMAGES/A1"]
    assert "missing" in error.reason
    assert [clip.display_name for clip in again] == [clip.display_name for clip in clips]
    assert same.reason == error.reason


def test_names_are_not_shown_unless_asked_for(tmp_path: Path) -> None:
    _dicom(tmp_path / "Quartz_Aurelia" / "PID-77123_A4C.dcm")
    (tmp_path / "Quartz_Aurelia" / "aurelia.dcm").write_bytes(b"broken")
    names = FileNames(bytes(32))

    clips, errors = _find(tmp_path, names=names)
    shown = repr([(clip.display_name, clip.clip_id) for clip in clips]) + repr([str(error) for error in errors])

    assert not any(word in shown.lower() for word in ("quartz", "aurelia", "77123", "a4c"))
    assert names.originals[clips[0].clip_id] == str(tmp_path / "Quartz_Aurelia" / "PID-77123_A4C.dcm")
    assert names.originals[errors[0].path] == str(tmp_path / "Quartz_Aurelia" / "aurelia.dcm")
    again, _ = _find(tmp_path, names=FileNames(bytes(32)))
    assert again[0].clip_id == clips[0].clip_id
    kept, _ = _find(tmp_path, keep_identifiers=True)
    assert kept[0].display_name == "Quartz_Aurelia/PID-77123_A4C.dcm"


def test_names_are_printable(tmp_path: Path) -> None:
    _dicom(tmp_path / os.fsdecode(b"b\xffd\n.dcm"))

    (clip,), _ = _find(tmp_path)

    assert clip.display_name.isprintable()
    clip.display_name.encode()


def test_a_zip_is_searched_without_extracting_it(tmp_path: Path) -> None:
    dicom = _dicom(tmp_path / "x.dcm").read_bytes()
    images = {f"zip/A4C/{number}.png": _png(tmp_path / "p.png", number).read_bytes() for number in range(3)}
    volume = write_meta_image(tmp_path / "v.mhd", np.full((8, 6), 7, np.uint8))
    members = {"zip/b.dcm": dicom, **images, "zip/notes.txt": b"text", "__MACOSX/zip/._b.dcm": b"junk"}
    members |= {"zip/v/v.mhd": volume.read_bytes(), "zip/v/v.raw": volume.with_suffix(".raw").read_bytes()}
    path = write_zip(tmp_path / "study.zip", members)
    work = tmp_path / "work"

    clips, errors = _find(path, work_dir=work)

    assert errors == []
    assert [clip.display_name for clip in clips] == [
        "study.zip/zip/b.dcm",
        "study.zip/zip/A4C",
        "study.zip/zip/v/v.mhd",
    ]
    assert not work.exists() or not any(work.iterdir())
    for clip, frame_count in zip(clips, (3, 3, 1), strict=True):
        opened = open_clip(clip)
        assert any(work.iterdir())
        assert len(list(opened.frames())) == frame_count
        opened.close()
        assert not any(work.iterdir())


def test_extracted_files_go_with_the_clip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x.dcm": _dicom(tmp_path / "x.dcm").read_bytes()})
    (clip,), _ = _find(path, work_dir=tmp_path / "work")

    opened = open_clip(clip)
    assert any((tmp_path / "work").iterdir())
    del opened

    assert not any((tmp_path / "work").iterdir())


def test_a_zip_in_a_zip_is_read_and_no_deeper(tmp_path: Path) -> None:
    dicom = _dicom(tmp_path / "x.dcm").read_bytes()
    deepest = write_zip(tmp_path / "3.zip", {"z.dcm": dicom}).read_bytes()
    inner = write_zip(tmp_path / "2.zip", {"y.dcm": dicom, "3.zip": deepest}).read_bytes()
    outer = write_zip(tmp_path / "1.zip", {"2.zip": inner})

    clips, (error,) = _find(outer, work_dir=tmp_path / "work")

    assert [clip.display_name for clip in clips] == ["1.zip/2.zip/y.dcm"]
    assert error.path == "1.zip/2.zip/3.zip"
    assert "inside a zip archive inside" in error.reason
    assert open_clip(clips[0]).header.frame_count == 3


def test_hostile_archives_are_one_line_each_and_are_not_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom = _dicom(tmp_path / "good" / "x.dcm").read_bytes()
    write_zip(tmp_path / "bomb.zip", {"bomb.dcm": bytes(60_000_000)})
    write_zip(tmp_path / "slip.zip", {"../../evil.dcm": dicom})
    mark_encrypted(write_zip(tmp_path / "locked.zip", {"a.dcm": dicom, "b.dcm": dicom}))
    (tmp_path / "torn.zip").write_bytes((tmp_path / "slip.zip").read_bytes()[:-30])
    write_zip(tmp_path / "void.zip", {})

    expanded: list[int] = []
    read = zipfile.ZipExtFile.read

    def count(stream: zipfile.ZipExtFile, size: int | None = -1) -> bytes:
        content = read(stream, size)
        expanded.append(len(content))
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", count)
    clips, errors = _find(tmp_path, work_dir=tmp_path / "work")

    assert sum(expanded) < 1_000_000, "of the 60 MB of the bomb"
    assert [clip.display_name for clip in clips] == ["good/x.dcm"]
    assert {error.path: error.reason.split()[0] for error in errors} == {
        "bomb.zip/bomb.dcm": "expands",
        "slip.zip/evil.dcm": "its",
        "locked.zip": "is",
        "torn.zip": "is",
        "void.zip": "is",
    }
    assert not (tmp_path.parent / "evil.dcm").exists()


def test_the_archive_limit_is_the_callers(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x.dcm": _dicom(tmp_path / "x.dcm").read_bytes()})

    _, (error,) = _find(path, limits=ReadLimits(max_archive_bytes=1000))

    assert "would expand to more" in error.reason


def test_a_damaged_member_is_an_error_when_opened(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (4, 64, 64), np.uint8)
    dicom = write_native(tmp_path / "x.dcm", frames, "MONOCHROME2").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.dcm", dicom)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[9000] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(bytes(content))

    (clip,), _ = _find(tmp_path / "a.zip", work_dir=tmp_path / "work")

    with pytest.raises(ReadError, match="damaged"):
        open_clip(clip)
    assert not any((tmp_path / "work").iterdir())


def test_the_real_clips_are_six() -> None:
    clips, errors = _find(shared_data("ailabs_clips"))

    assert [clip.display_name for clip in clips] == ["A2C", "A3C", "A4C", "PLAX", "PSAX-AV", "PSAX-PM"]
    assert {clip.kind for clip in clips} == {ClipKind.IMAGE_SERIES}
    assert errors == []
