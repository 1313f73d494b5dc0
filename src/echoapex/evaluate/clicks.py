"""The click protocol of interactive segmentation: a simulated person clicks on the largest error, up to a cap.

The first click is at the deepest place of the structure. Each further click is at the deepest place of the largest
connected error: positive if the structure was missed there, negative if something else was segmented. The deepest place
is the maximum of the distance transform. Only the jitter of the box is random. Its seed belongs to the case, so that
all models get the same boxes.

All models get the same image: the square around the sector in native pixels, blank outside the sector and not resized.
So no model benefits from a better sector search, and Dice is computed in native pixels. A model is anything with the
methods of :class:`InteractiveModel`; our model and its peers are run by the same code.

Sources: Xu et al., "Deep interactive object selection", CVPR 2016; Sofiiuk et al., "Reviving iterative training with
mask guidance for interactive segmentation", ICIP 2022 (NoC at a cap, mask re-prompt); Kirillov et al., "Segment
anything", 2023, appendix A.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8
from pydantic import Field

from echoapex.config import Config
from echoapex.data.preprocess import FramePreparer, prepare_labels, square_box, to_grey
from echoapex.domain import Clip, Sector
from echoapex.domain.prompts import Prompt
from echoapex.evaluate.cases import MIN_VISIBLE_FRACTION
from echoapex.evaluate.reference import ReferenceClip, ReferenceSet
from echoapex.io.sector import find_sector
from echoapex.io.study_files import read_clip
from echoapex.metrics import dice
from echoapex.models.prompt_sampling import Click, correction_click, jittered_box
from echoapex.vocabulary import Structure, View

Logits = Float[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class ClickImage:
    """One labelled frame of the protocol.

    Attributes:
        patient: name of the patient.
        clip: name of the clip.
        view: the true view.
        frame: frame number.
        pixels: the grey square image.
        labels: label map of :class:`Structure` values, of the same size.
        structures: the structures that are visible and outlined.
    """

    patient: str
    clip: str
    view: View
    frame: int
    pixels: UInt8[np.ndarray, "side side"]
    labels: UInt8[np.ndarray, "side side"]
    structures: tuple[Structure, ...]

    def truth(self, structure: Structure) -> Bool[np.ndarray, "side side"]:
        """The mask of one structure."""
        mask: Bool[np.ndarray, "side side"] = self.labels == structure
        return mask

    def seed(self, structure: Structure) -> int:
        """The random seed of this case, independent of all other cases."""
        return zlib.crc32(f"{self.clip}/{self.frame}/{structure.key}".encode())


def choose_frames(
    reference: ReferenceSet, images: int = 0, seed: int = 0
) -> list[tuple[str, ReferenceClip, tuple[int, ...]]]:
    """Choose labelled frames, all or a random selection; returns patient, clip and frames.

    Args:
        reference: the data set.
        images: number of frames; 0 for all.
        seed: seed of the selection.
    """
    known = [
        (study.patient, clip, frame)
        for study in reference.studies
        for clip in study.clips
        for frame in sorted(clip.read_labels())
    ]
    order = np.random.default_rng(seed).permutation(len(known))
    chosen = sorted(order[: images or len(known)].tolist())
    grouped: dict[str, tuple[str, ReferenceClip, tuple[int, ...]]] = {}
    for patient, clip, frame in (known[index] for index in chosen):
        earlier = grouped.get(clip.name, (patient, clip, ()))[2]
        grouped[clip.name] = (patient, clip, (*earlier, frame))
    return list(grouped.values())


def read_click_images(chosen: Sequence[tuple[str, ReferenceClip, tuple[int, ...]]]) -> Iterator[ClickImage]:
    """Read the chosen frames, clip by clip; frames without a visible outlined structure are skipped.

    Raises:
        ReadError: a clip cannot be read.
    """
    for patient, reference, frames in chosen:
        clip, labels = read_clip(reference.path), reference.read_labels()
        sector = clip.header.sector or find_sector(_sample(clip))
        for frame in frames:
            image = _square_image(clip, frame, sector, labels[frame])
            shown = tuple(s for s in reference.structures if (image[1] == s).mean() >= MIN_VISIBLE_FRACTION)
            if shown:
                # data sets of the protocol give every view
                assert reference.view is not None
                yield ClickImage(patient, reference.name, reference.view, frame, *image, shown)


class InteractiveModel(Protocol):
    """A model that answers prompts; ``understands_names`` says whether it accepts the name of a structure."""

    @property
    def understands_names(self) -> bool:
        """Whether a prompt may name a structure."""
        ...

    def encode(self, image: UInt8[np.ndarray, "height width"]) -> Any:
        """Encode an image once for all its prompts."""
        ...

    def segment(self, encoded: Any, prompt: Prompt, previous_logits: Logits | None = None) -> Logits:
        """Logits in the size of the image, positive inside; ``previous_logits`` is the mask to correct."""
        ...


class ClickProtocol(Config):
    """Settings of the click protocol."""

    clicks: int = Field(default=10, ge=1, description="largest number of clicks")
    target_dice: float = Field(default=0.9, gt=0, le=1, description="of NoC")
    box_jitter: float = Field(
        default=0.08, ge=0, description="standard deviation of the error of a box side, relative to the size of the box"
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class ClickRun:
    """The clicks on one structure, up to the cap.

    Attributes:
        dice: Dice after 0, 1, 2, ... clicks; it is constant once there is no error.
        positive: for each click, whether it was positive.
        obeyed: for each click, whether the answer agrees with it at the place of the click.
    """

    dice: tuple[float, ...]
    positive: tuple[bool, ...]
    obeyed: tuple[bool, ...] = ()

    def clicks_to(self, target_dice: float) -> int | None:
        """The smallest number of clicks with at least the target Dice; None if it is never reached."""
        return next((count for count, value in enumerate(self.dice) if value >= target_dice), None)

    @property
    def worsened(self) -> int:
        """Number of clicks on an earlier mask that lowered Dice by more than 0.001."""
        steps = zip(self.dice, self.dice[1:], strict=False)
        return sum(after < before - 1e-3 for before, after in list(steps)[: len(self.positive)])


@dataclass(frozen=True)
class ClickCase:
    """Results of all kinds of prompts for one structure on one frame.

    Attributes:
        patient: name of the patient.
        clip: name of the clip.
        view: the true view.
        frame: frame number.
        structure: the structure to segment.
        from_nothing: clicks alone; each corrects the mask before it.
        without_mask: as ``from_nothing``, but the model does not get its earlier mask.
        from_name: clicks that correct the mask found by the name; None if the model knows no names.
        box: Dice of a jittered box alone.
        box_and_name: Dice of the box together with the name; None if the model knows no names.
        name: Dice of the name alone; None if the model knows no names.
    """

    patient: str
    clip: str
    view: View
    frame: int
    structure: Structure
    from_nothing: ClickRun
    without_mask: ClickRun
    from_name: ClickRun | None
    box: float
    box_and_name: float | None
    name: float | None


def ask_about(model: InteractiveModel, image: ClickImage, protocol: ClickProtocol) -> Iterator[ClickCase]:
    """Run the whole protocol on one image, structure by structure."""
    encoded = model.encode(image.pixels)
    for structure in image.structures:
        person = SimulatedPerson(model, encoded, image.truth(structure))
        box = person.box(protocol, image.seed(structure))
        named = structure if model.understands_names else None
        from_name = person.click(protocol.clicks, named) if named else None
        yield ClickCase(
            patient=image.patient,
            clip=image.clip,
            view=image.view,
            frame=image.frame,
            structure=structure,
            from_nothing=person.click(protocol.clicks),
            without_mask=person.click(protocol.clicks, show_earlier_mask=False),
            from_name=from_name,
            box=person.dice_of(Prompt(person.truth.shape, box_xyxy=box)),
            box_and_name=person.dice_of(Prompt(person.truth.shape, box_xyxy=box, structure=named)) if named else None,
            name=from_name.dice[0] if from_name else None,
        )


@dataclass(frozen=True, eq=False)
class SimulatedPerson:
    """A simulated person who knows the true mask and prompts a model for it.

    Attributes:
        model: the model.
        encoded: the encoded image.
        truth: the true mask, with at least one pixel.
    """

    model: InteractiveModel
    encoded: Any
    truth: Mask

    def dice_of(self, prompt: Prompt) -> float:
        """Dice of the answer to one prompt."""
        return dice(self.truth, self.model.segment(self.encoded, prompt) > 0)

    def box(self, protocol: ClickProtocol, case_seed: int) -> tuple[float, float, float, float]:
        """A jittered box around the structure, at least one pixel wide and high."""
        rng = np.random.default_rng([protocol.seed, case_seed])
        x0, y0, x1, y1 = jittered_box(self.truth, rng, protocol.box_jitter)
        height, width = self.truth.shape
        return x0, y0, min(max(x1, x0 + 1), width - 0.5), min(max(y1, y0 + 1), height - 0.5)

    def click(self, most: int, named: Structure | None = None, *, show_earlier_mask: bool = True) -> ClickRun:
        """Click until the mask is right or ``most`` clicks were made.

        Args:
            most: the largest number of clicks.
            named: start with the mask of this name, and give the name with every click; None starts without a mask.
            show_earlier_mask: give the model its last answer.
        """
        return self.click_to_logits(most, named, show_earlier_mask=show_earlier_mask)[0]

    def click_to_logits(
        self,
        most: int,
        named: Structure | None = None,
        *,
        show_earlier_mask: bool = True,
        until_dice: float | None = None,
    ) -> tuple[ClickRun, Logits | None]:
        """As :meth:`click`, but also return the last answer; None if there was none.

        With ``until_dice`` the person is content with a mask of this Dice, and stops.
        """
        size = self.truth.shape
        logits = self.model.segment(self.encoded, Prompt(size, structure=named)) if named else None
        found = np.zeros(size, bool) if logits is None else logits > 0
        overlaps, clicks, obeyed = [dice(self.truth, found)], list[Click](), list[bool]()
        while len(clicks) < most and (click := correction_click(self.truth, found)) is not None:
            if until_dice is not None and overlaps[-1] >= until_dice:
                break
            clicks.append(click)
            prompt = Prompt(size, _at(clicks, True), _at(clicks, False), structure=named)
            logits = self.model.segment(self.encoded, prompt, logits if show_earlier_mask else None)
            found = logits > 0
            overlaps.append(dice(self.truth, found))
            obeyed.append(bool(found[round(click.y), round(click.x)]) is click.positive)
        overlaps += [overlaps[-1]] * (most + 1 - len(overlaps))
        return ClickRun(tuple(overlaps), tuple(click.positive for click in clicks), tuple(obeyed)), logits


def _sample(clip: Clip) -> UInt8[np.ndarray, "frames height width"]:
    """About sixteen grey frames spread over the clip."""
    rows = np.unique(np.linspace(0, len(clip.frames) - 1, 16).round().astype(int))
    return np.stack([to_grey(clip.frames[row]) for row in rows])


def _square_image(
    clip: Clip, frame: int, sector: Sector | None, labels: UInt8[np.ndarray, "height width"]
) -> tuple[UInt8[np.ndarray, "side side"], UInt8[np.ndarray, "side side"]]:
    x0, _, x1, _ = square_box(sector, clip.header.size)
    preparer = FramePreparer(clip.header.size, sector, x1 - x0)
    return preparer.prepare(to_grey(clip.frames[frame])), prepare_labels(labels, preparer.transform)


def _at(clicks: list[Click], positive: bool) -> tuple[tuple[float, float], ...]:
    return tuple((click.x, click.y) for click in clicks if click.positive is positive)
