"""Volumes: orientation, units, times, and what is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from real_files import shared_data

from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits
from echoapex.io.volume import open_volume, read_volume

IMAGE = (np.arange(40 * 30) % 251).reshape(40, 30).astype(np.uint8)  # x first: 40 columns, 30 rows


def _write(
    path: Path,
    samples: np.ndarray,
    zooms: tuple[float, ...] = (0.3, 0.4),
    units: tuple[str | None, str | None] = ("mm", None),
    kind: type = nibabel.Nifti1Image,
) -> Path:
    image = kind(samples, np.eye(4))
    image.header.set_zooms((*zooms, 1.0, 1.0)[: samples.ndim])
    image.header.set_xyzt_units(*units)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_rows_and_columns_are_right(tmp_path: Path, name: str, kind: type) -> None:
    volume = read_volume(_write(tmp_path / name, IMAGE, kind=kind))

    assert volume.frames.shape == (1, 30, 40)
    assert (volume.frames[0] == IMAGE.T).all()
    assert volume.spacing.column_mm == pytest.approx(0.3)
    assert volume.spacing.row_mm == pytest.approx(0.4)


def test_a_series_and_its_singleton_axes(tmp_path: Path) -> None:
    series = np.stack([IMAGE, IMAGE + 3], axis=2)
    for samples in (series, series[:, :, None, :], series[..., None]):
        volume = read_volume(_write(tmp_path / "a.nii.gz", samples))
        assert volume.frames.shape == (2, 30, 40)
        assert (volume.frames[1] == (IMAGE + 3).T).all()


def test_the_time_unit_is_honoured(tmp_path: Path) -> None:
    samples = np.stack([IMAGE] * 3, axis=2)[:, :, None, :]
    path = _write(tmp_path / "a.nii", samples, (0.3, 0.4, 1.0, 20.0), ("mm", "msec"))

    header = open_volume(path).header

    assert header.frame_times_s == pytest.approx((0, 0.02, 0.04))
    assert header.frame_times_known
    unknown = open_volume(_write(path, samples, (0.3, 0.4, 1.0, 20.0), ("mm", None))).header
    assert not unknown.frame_times_known


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("meter", 1e3), ("micron", 1e-3)])
def test_the_spatial_unit_is_honoured(tmp_path: Path, unit: str, factor: float) -> None:
    volume = read_volume(_write(tmp_path / "a.nii", IMAGE, (0.3 / factor, 0.5 / factor), (unit, None)))

    assert volume.spacing.row_mm == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("zooms", "units", "reason"),
    [
        ((0.3, 0.3), (None, None), "unit"),
        ((1.0, 1.0), ("mm", None), "exactly 1 mm"),
        ((300.0, 300.0), ("mm", None), "no echo image"),
    ],
)
def test_an_incredible_spacing_is_refused(
    tmp_path: Path, zooms: tuple[float, float], units: tuple[str | None, None], reason: str
) -> None:
    header = open_volume(_write(tmp_path / "a.nii", IMAGE, zooms, units)).header

    assert header.spacing is None
    assert reason in header.spacing_reason


def test_whole_numbers_up_to_255_are_kept_and_others_scaled(tmp_path: Path) -> None:
    same = open_volume(_write(tmp_path / "a.nii", IMAGE.astype(np.float32)))
    assert (next(same.frames()) == IMAGE.T).all()
    assert ReadFlag.RESCALED_TO_8_BIT not in same.header.flags

    scaled = open_volume(_write(tmp_path / "b.nii", (IMAGE.astype(np.float32) - 100) * 7))
    frame = next(scaled.frames())
    assert ReadFlag.RESCALED_TO_8_BIT in scaled.header.flags
    assert (frame.min(), frame.max()) == (0, 255)


def test_samples_that_are_no_numbers_count_as_zero(tmp_path: Path) -> None:
    samples = IMAGE.astype(np.float32)
    samples[0, 0], samples[1, 0] = np.nan, np.inf

    frame = next(open_volume(_write(tmp_path / "a.nii", samples)).frames())

    assert frame[0, 0] == 0
    assert frame[0, 1] == 0
    assert frame[5, 5] == IMAGE[5, 5]


def test_slope_and_intercept_apply(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(IMAGE, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "a.nii")
    raw = nibabel.load(tmp_path / "a.nii")

    volume = read_volume(tmp_path / "a.nii")

    assert np.allclose(volume.frames[0], np.asarray(raw.dataobj).T)


def test_a_volume_over_time_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii", np.zeros((5, 6, 7, 8), np.uint8))

    with pytest.raises(ReadError, match="3D volume over time"):
        read_volume(path)


def test_meta_images_are_volumes_too(tmp_path: Path) -> None:
    samples = np.stack([IMAGE, IMAGE + 1], axis=2)
    (tmp_path / "a.raw").write_bytes(samples.tobytes(order="F"))
    (tmp_path / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 40 30 2\nElementType = MET_UCHAR\n"
        "ElementSpacing = 0.3 0.4 1\nElementDataFile = a.raw\n"
    )

    source = open_volume(tmp_path / "a.mhd")

    assert source.header.spacing.row_mm == pytest.approx(0.4)
    assert (np.stack(list(source.frames())) == samples.transpose(2, 1, 0)).all()
    first = source.header.source["sha256"]
    (tmp_path / "a.raw").write_bytes((samples + 1).tobytes(order="F"))
    assert open_volume(tmp_path / "a.mhd").header.source["sha256"] != first


def _with_claimed_shape(path: Path, shape: tuple[int, ...]) -> Path:
    header = bytearray(path.read_bytes())
    header[40:56] = np.array([len(shape), *shape, 1, 1, 1, 1, 1], "<i2")[:8].tobytes()
    path.write_bytes(bytes(header))
    return path


def test_a_huge_claim_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = _with_claimed_shape(_write(tmp_path / "a.nii", IMAGE), (32000, 32000, 3000))

    with pytest.raises(ReadError, match="limit"):
        read_volume(path)
    path = _with_claimed_shape(path, (4000, 4000, 3000))
    with pytest.raises(ReadError, match="samples"):
        read_volume(path)


@pytest.mark.parametrize("keep", [0, 100, 400, 900])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    path = _write(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ReadError, match=r"^volume: "):
        open_volume(path, display_name="volume")


def test_frame_limit(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii", np.zeros((4, 4, 9), np.uint8))

    with pytest.raises(ReadError, match="limit of 8"):
        read_volume(path, limits=ReadLimits(max_frames=8))


def test_a_real_camus_image() -> None:
    path = shared_data("camus_native_4ch", "patient0001", "patient0001_4CH_ED.nii.gz")

    header = open_volume(path).header

    assert header.size == (389, 549)
    assert header.spacing.row_mm == pytest.approx(0.308)
