"""Interactive segmentation as a protocol: a simulated person clicks on the largest error until the mask is right.

The first click lies in the structure where it is deepest, each further one in the deepest place of the largest
connected error, positive where the structure was missed and negative where something else was taken for it. The deepest
place is the maximum of the distance transform. Nothing is drawn at random but the jitter of the box, whose seed belongs
to the case, so that two models see the same boxes whatever else they are asked.

A model is anything with the two methods of :class:`InteractiveModel`; ours and peers are driven by the same code.

Sources: Xu et al., "Deep interactive object selection", CVPR 2016; Sofiiuk et al., "Reviving iterative training with
mask guidance for interactive segmentation", ICIP 2022 (NoC at a cap, mask re-prompt); Kirillov et al., "Segment
anything", 2023, appendix A.

The images of the click protocol: the square of the sector in native pixels, one structure at a time.

Every model gets the same square, blank outside the sector and not resized, so that none is helped by a better search
for the sector, and Dice is counted in native pixels.
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


@dataclass(frozen=True, eq=False)
class ClickImage:
    """One labelled frame.

    Attributes:
        patient: whose heart it is.
        clip: the clip in words.
        view: the true view.
        frame: frame number.
        pixels: the grey square.
        labels: :class:`Structure` values of the same size.
        structures: those that are shown and outlined.
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
        """A number that belongs to this case alone, whatever other cases there are."""
        return zlib.crc32(f"{self.clip}/{self.frame}/{structure.key}".encode())


def choose_frames(
    reference: ReferenceSet, images: int = 0, seed: int = 0
) -> list[tuple[str, ReferenceClip, tuple[int, ...]]]:
    """Patient, clip and labelled frames, all of them or a random choice.

    Args:
        reference: the data set.
        images: how many frames; 0 takes all.
        seed: of the choice.
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
    """Read the chosen frames, clip by clip; a frame that shows none of the outlined structures is passed over.

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
                # data sets of the protocol tell every view
                assert reference.view is not None
                yield ClickImage(patient, reference.name, reference.view, frame, *image, shown)


def _square_image(
    clip: Clip, frame: int, sector: Sector | None, labels: UInt8[np.ndarray, "height width"]
) -> tuple[UInt8[np.ndarray, "side side"], UInt8[np.ndarray, "side side"]]:
    x0, _, x1, _ = square_box(sector, clip.header.size)
    preparer = FramePreparer(clip.header.size, sector, x1 - x0)
    return preparer.prepare(to_grey(clip.frames[frame])), prepare_labels(labels, preparer.transform)


def _sample(clip: Clip) -> UInt8[np.ndarray, "frames height width"]:
    """About sixteen grey frames spread over the clip."""
    rows = np.unique(np.linspace(0, len(clip.frames) - 1, 16).round().astype(int))
    return np.stack([to_grey(clip.frames[row]) for row in rows])


Logits = Float[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]


class InteractiveModel(Protocol):
    """A model that answers prompts; ``understands_names`` says whether a structure's name is one."""

    @property
    def understands_names(self) -> bool:
        """Whether a prompt may name a structure."""
        ...

    def encode(self, image: UInt8[np.ndarray, "height width"]) -> Any:
        """Whatever of an image serves all its prompts."""
        ...

    def segment(self, encoded: Any, prompt: Prompt, previous_logits: Logits | None = None) -> Logits:
        """Logits of the size of the image, positive inside; ``previous_logits`` is the mask to be corrected."""
        ...


class ClickProtocol(Config):
    """What is asked, and how often."""

    clicks: int = Field(default=10, ge=1, description="the cap of the number of clicks")
    target_dice: float = Field(default=0.9, gt=0, le=1, description="of NoC")
    box_jitter: float = Field(
        default=0.08, ge=0, description="standard deviation of a side's error, of the box's extent"
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class ClickRun:
    """One structure, clicked on until the cap.

    Attributes:
        dice: after 0, 1, 2, ... clicks; once there is no error it stays.
        positive: for every click that was made, whether it was positive.
        obeyed: for every click that was made, whether the answer agrees with it at its own place.
    """

    dice: tuple[float, ...]
    positive: tuple[bool, ...]
    obeyed: tuple[bool, ...] = ()

    def clicks_to(self, target_dice: float) -> int | None:
        """The fewest clicks after which Dice is at least the target; None where it never is."""
        return next((count for count, value in enumerate(self.dice) if value >= target_dice), None)

    @property
    def worsened(self) -> int:
        """How many clicks on an earlier mask made Dice worse by more than 0.001."""
        steps = zip(self.dice, self.dice[1:], strict=False)
        return sum(after < before - 1e-3 for before, after in list(steps)[: len(self.positive)])


@dataclass(frozen=True)
class ClickCase:
    """One structure on one frame, and what each kind of prompt gave.

    Attributes:
        patient: whose heart it is.
        clip: the clip in words.
        view: the true view.
        frame: frame number.
        structure: what was asked for.
        from_nothing: clicks alone, each correcting the mask before it.
        without_mask: the same clicks' rule, but the model never sees its earlier mask.
        from_name: clicks that correct the mask found by the name; None where the model knows no names.
        box: Dice of a jittered box alone.
        box_and_name: Dice of that box together with the name; None as above.
        name: Dice of the name alone; None as above.
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
    """Put one image through the whole protocol, structure by structure."""
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
    """Somebody who knows the truth and asks a model for it.

    Attributes:
        model: what is asked.
        encoded: the image as the model keeps it.
        truth: the mask that the person has in mind, at least one pixel.
    """

    model: InteractiveModel
    encoded: Any
    truth: Mask

    def dice_of(self, prompt: Prompt) -> float:
        """Dice of the answer to one prompt."""
        return dice(self.truth, self.model.segment(self.encoded, prompt) > 0)

    def box(self, protocol: ClickProtocol, case_seed: int) -> tuple[float, float, float, float]:
        """The box as this person draws it around the structure; at least one pixel wide and high."""
        rng = np.random.default_rng([protocol.seed, case_seed])
        x0, y0, x1, y1 = jittered_box(self.truth, rng, protocol.box_jitter)
        height, width = self.truth.shape
        return x0, y0, min(max(x1, x0 + 1), width - 0.5), min(max(y1, y0 + 1), height - 0.5)

    def click(self, most: int, named: Structure | None = None, *, show_earlier_mask: bool = True) -> ClickRun:
        """Click until nothing is wrong or ``most`` clicks were made.

        Args:
            most: the cap.
            named: start from the mask of this name, and say the name with every click; else from nothing.
            show_earlier_mask: hand the model its last answer.
        """
        return self.click_to_logits(most, named, show_earlier_mask=show_earlier_mask)[0]

    def click_to_logits(
        self, most: int, named: Structure | None = None, *, show_earlier_mask: bool = True
    ) -> tuple[ClickRun, Logits | None]:
        """The same, with the last answer; None where nothing was asked."""
        size = self.truth.shape
        logits = self.model.segment(self.encoded, Prompt(size, structure=named)) if named else None
        found = np.zeros(size, bool) if logits is None else logits > 0
        overlaps, clicks, obeyed = [dice(self.truth, found)], list[Click](), list[bool]()
        while len(clicks) < most and (click := correction_click(self.truth, found)) is not None:
            clicks.append(click)
            prompt = Prompt(size, _at(clicks, True), _at(clicks, False), structure=named)
            logits = self.model.segment(self.encoded, prompt, logits if show_earlier_mask else None)
            found = logits > 0
            overlaps.append(dice(self.truth, found))
            obeyed.append(bool(found[round(click.y), round(click.x)]) is click.positive)
        overlaps += [overlaps[-1]] * (most + 1 - len(overlaps))
        return ClickRun(tuple(overlaps), tuple(click.positive for click in clicks), tuple(obeyed)), logits


def _at(clicks: list[Click], positive: bool) -> tuple[tuple[float, float], ...]:
    return tuple((click.x, click.y) for click in clicks if click.positive is positive)
