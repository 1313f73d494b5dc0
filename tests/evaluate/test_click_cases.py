"""Images of the click protocol: native squares of the sector, and the same choice for everybody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import LabelledStudy
from reference_studies import write_camus_archive

from echoapex.evaluate.clicks import choose_frames, read_click_images
from echoapex.evaluate.truth import pack_camus, read_phantom_reference
from echoapex.io.study_files import read_clip
from echoapex.vocabulary import Structure, View


def test_pixels_and_labels_are_native(labelled_study: LabelledStudy) -> None:
    reference = read_phantom_reference(labelled_study.folder)
    chosen = choose_frames(reference, images=4, seed=1)
    images = list(read_click_images(chosen))
    assert len(images) == 4
    by_name = {clip.name: clip for clip in reference.studies[0].clips}
    for image in images:
        native = by_name[image.clip].read_labels()[image.frame]
        for structure in image.structures:
            assert image.truth(structure).sum() == (native == structure).sum(), "nothing is cut off or resized"
        frame = read_clip(by_name[image.clip].path).frames[image.frame]
        lit = image.pixels[image.labels > 0]
        assert abs(lit.mean() - frame[native > 0].mean()) < 1
        assert image.pixels.shape == image.labels.shape


def test_the_choice_is_repeatable_and_grows_with_the_number(labelled_study: LabelledStudy) -> None:
    reference = read_phantom_reference(labelled_study.folder)

    def names(images: int, seed: int) -> set[tuple[str, int]]:
        return {(clip.name, frame) for _, clip, frames in choose_frames(reference, images, seed) for frame in frames}

    assert names(5, 0) == names(5, 0)
    assert names(5, 0) != names(5, 1)
    assert names(3, 0) < names(5, 0)
    every = sum(len(clip.read_labels()) for clip in reference.studies[0].clips)
    assert len(names(0, 0)) == every


def test_camus_structures_are_those_that_camus_outlines(tmp_path: Path) -> None:
    write_camus_archive(tmp_path)
    reference = pack_camus(tmp_path, "val", tmp_path / "inputs")
    images = list(read_click_images(choose_frames(reference)))
    assert {image.view for image in images} == {View.A4C, View.A2C}
    assert {s for image in images for s in image.structures} == {Structure.LV_CAVITY, Structure.LEFT_ATRIUM}
    seeds = {image.seed(structure) for image in images for structure in image.structures}
    assert len(seeds) == 8
    assert np.unique(images[0].labels).tolist() == [0, 1, 3]
