"""A set of weights, loaded once, that answers questions about clips and studies: the front door for programs.

``echoapex.load`` gives a :class:`Model`. Everything is computed on this machine; nothing is downloaded or sent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.data.preprocess import PreparedClip, prepare_frames
from echoapex.domain import Clip, Measurement, Spacing, StudyReport, ViewPrediction
from echoapex.domain.clip import FrameTransform, Size
from echoapex.domain.prompts import Prompt
from echoapex.infer.clip.analyze import analyze_clip
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.outlines import outline_structures
from echoapex.infer.clip.reading import AnalysisOptions, ClipReading
from echoapex.infer.interactive.clicks import InteractiveSegmenter
from echoapex.infer.interactive.propagation import InteractiveClip, InteractiveError
from echoapex.infer.study.analyze import NamedInterpreter, Observer, StudyAnalyzer, require_paths
from echoapex.io.clip_source import ClipInMemory, ClipSource
from echoapex.io.study_files import open_only_clip
from echoapex.models.bundle import BundleError, build_encoder_from, load_bundle
from echoapex.models.encoder import VisionTransformer, encode_clip
from echoapex.models.precision import Precision, choose_device, choose_precision
from echoapex.models.registry import DEFAULT_SET, find_set
from echoapex.models.simulated_weights import RESEARCH_SET, SIMULATED_NOTE, advise_patients
from echoapex.vocabulary import Application, Structure

_LOG = logging.getLogger("echoapex")
PROMPTED = 255
"""Value of a label map where a prompt without a structure name found something."""


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """What the encoder says of a clip.

    Frames are cropped to the ultrasound sector, blackened outside of it, made square, resized, and standardised one by
    one, so that gain and screen layout play no part.

    Attributes:
        class_tokens: one vector per frame, after the last block and the final norm; it sums the frame up. Compare by
            cosine similarity; a linear layer on it tells the view.
        patch_tokens: one vector per frame and patch, rows from top to bottom, columns from left to right.
        patch_centres_xy: where the centre of each patch lies in native pixels.
        frames: native frame numbers.
        times_s: times of these frames in seconds.
        encoder_sha256: digest of the encoder's weights. Features of different encoders cannot be compared.
    """

    class_tokens: Float[np.ndarray, "frames width"]
    patch_tokens: Float[np.ndarray, "frames rows columns width"]
    patch_centres_xy: Float[np.ndarray, "rows columns 2"]
    frames: tuple[int, ...]
    times_s: tuple[float, ...]
    encoder_sha256: str


@dataclass(frozen=True, eq=False)
class ClipSegmentation:
    """Structures of a clip in native pixels.

    Attributes:
        frames: native frame numbers, ascending.
        labels: one label map per frame; values of ``Structure``, ``PROMPTED`` for a prompt without a name, 0 elsewhere.
        overlap: predicted overlap (IoU) of each automatic outline with the truth, mean over frames.
        spacing: pixel size; None when the clip is not calibrated.
    """

    frames: tuple[int, ...]
    labels: UInt8[np.ndarray, "frames height width"]
    overlap: dict[Structure, float] = field(default_factory=dict)
    spacing: Spacing | None = None

    def mask(self, structure: Structure | None = None) -> Bool[np.ndarray, "frames height width"]:
        """Masks of one structure on all frames; without a name, of what the prompts meant."""
        found: Bool[np.ndarray, "frames height width"] = self.labels == (PROMPTED if structure is None else structure)
        return found


class Encoder:
    """An encoder alone, without any task: what pretraining makes.

    Attributes:
        input_size: side of the square frames that it reads, in pixels.
        sha256: digest of its weights.
        precision: ``bf16`` or ``fp32``.
    """

    def __init__(
        self, network: VisionTransformer, input_size: int, sha256: str, precision: Literal["bf16", "fp32"]
    ) -> None:
        self._network = network
        self.input_size = input_size
        self.sha256 = sha256
        self.precision = precision
        device = next(network.parameters()).device
        self._autocast = choose_precision(precision, device).autocast(device)

    def encode(self, clip: Clip | str | Path) -> ClipFeatures:
        """Features of every frame.

        Args:
            clip: from ``echoapex.read``, or the path of one clip.

        Raises:
            ReadError: the clip cannot be read.
        """
        prepared = prepare_frames(_source_of(clip), self.input_size)
        last = self._network.config.depth - 1
        pixels, times_s = prepared.pixels, prepared.frame_times_s
        tokens = encode_clip(self._network, (last,), pixels, times_s, autocast=self._autocast).tokens[0]
        patches = tokens.patches.float().cpu().numpy()
        return ClipFeatures(
            tokens.class_token.float().cpu().numpy(),
            patches.reshape(len(patches), *tokens.grid, -1),
            _patch_centres(prepared.transform, tokens.grid),
            prepared.frame_indices,
            times_s,
            self.sha256,
        )


class Model:
    """The tasks of one set of weights. Research software, not a medical device.

    Attributes:
        name: of the set.
        device: where it computes: ``cpu``, ``cuda`` or ``mps``.
        precision: ``bf16`` or ``fp32``.
    """

    def __init__(self, interpreter: TaskInterpreter, name: str, device: str, advice: str = "") -> None:
        """Wrap loaded weights.

        Args:
            interpreter: the tasks.
            name: of the set.
            device: where it computes.
            advice: for a set that learned outlines from simulated hearts only, what is logged once it has read a study.
        """
        self._interpreter = interpreter
        self._advice = advice
        self._note = SIMULATED_NOTE if advice else ""
        self.name = name
        self.device = device
        self.precision = interpreter.precision

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of the weights in use, by bundle."""
        return self._interpreter.digests

    def __repr__(self) -> str:
        return f"Model({self.name!r}, device={self.device!r}, precision={self.precision!r})"

    def analyze(
        self,
        paths: str | Path | Sequence[str | Path],
        out: str | Path | None = None,
        *,
        options: AnalysisOptions | None = None,
        observer: Observer | None = None,
    ) -> StudyReport:
        """Analyse a study: views, outlines, volumes, ejection fraction and walls, each with its evidence.

        Args:
            paths: a file, folder, DICOMDIR or zip archive, or several.
            out: folder for the results; nothing is written without one.
            options: further choices.
            observer: is told of progress.

        Returns:
            The report; ``report.masks`` holds the label maps of every clip.

        Raises:
            AnalysisError: nothing was given, a path does not exist, ``out`` is a file, or the disk is full.
        """
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        named = NamedInterpreter(self._interpreter, self.name, self.device, self.precision, self._note)
        analyzer = StudyAnalyzer(named, options, observer, keep_masks=True)
        require_paths(given)
        report = analyzer.run(given, None if out is None else Path(out))
        if self._advice and any(not clip.set_aside for clip in report.clips):
            _LOG.warning("echoapex: %s", self._advice)
            self._advice = ""
        return report

    def encode(
        self, clip: Clip | str | Path, application: Application = Application.VIEW_CLASSIFICATION
    ) -> ClipFeatures:
        """Features of every frame.

        Args:
            clip: from ``echoapex.read``, or the path of one clip.
            application: the task whose encoder, with its adapter if it has one, reads the clip. In most sets all tasks
                share one encoder.

        Raises:
            ReadError: the clip cannot be read.
        """
        model = self._interpreter.models.encoders[application]
        digest = next(digest for name, digest in model.digests.items() if name.endswith("/encoder"))
        with model.adapted() as network:
            return Encoder(network, model.input_size, digest, self.precision).encode(clip)

    def classify_view(self, clip: Clip | str | Path) -> ViewPrediction:
        """The probability of each of the 18 views, for the whole clip.

        Raises:
            ReadError: the clip cannot be read.
        """
        prepared = self._prepared(clip)
        return self._interpreter.classify_view(self._interpreter.encode(prepared.pixels, prepared.frame_times_s))

    def segment(
        self,
        clip: Clip | str | Path,
        *,
        structures: Sequence[Structure] | None = None,
        prompts: Mapping[int, Prompt] | None = None,
    ) -> ClipSegmentation:
        """Outline structures on every frame, by name or led by prompts.

        Args:
            clip: from ``echoapex.read``, or the path of one clip.
            structures: what to outline; by default what the recognised view shows. Not together with prompts.
            prompts: by native frame number. The prompt is answered on its frame and the mask is carried to the rest of
                the clip; every frame follows the prompt nearest to it.

        Returns:
            Label maps of all frames in native pixels. Where structures overlap, the more probable one is kept.

        Raises:
            ReadError: the clip cannot be read.
            InteractiveError: a prompt names a frame that the clip lacks, or ``structures`` came with prompts.
            ValueError: a prompt is of another frame size.
        """
        if not prompts:
            return self._segment_by_name(clip, structures)
        if structures is not None:
            raise InteractiveError("give structures or prompts, not both; a prompt names its own structure")
        return self._segment_by_prompts(clip, prompts)

    def measure(self, clip: Clip | str | Path, options: AnalysisOptions | None = None) -> tuple[Measurement, ...]:
        """The values of one clip, each with its evidence; empty when the clip is set aside.

        Values in mm, mL and g need calibration; without it they are left out.

        Raises:
            ReadError: the clip cannot be read.
        """
        found = analyze_clip(_source_of(clip), "clip", self._interpreter, options or AnalysisOptions())
        return found.report.measurements

    def _prepared(self, clip: Clip | str | Path) -> PreparedClip:
        return prepare_frames(_source_of(clip), self._interpreter.input_size)

    def _segment_by_name(self, clip: Clip | str | Path, structures: Sequence[Structure] | None) -> ClipSegmentation:
        prepared = self._prepared(clip)
        encoded = self._interpreter.encode(prepared.pixels, prepared.frame_times_s)
        view = self._interpreter.classify_view(encoded)
        reading = ClipReading(prepared, encoded, view, self._interpreter)
        rows = range(len(prepared.frame_indices))
        outlines = outline_structures(reading, rows, structures=structures)
        labels = [outlines.labels[frame] for frame in prepared.frame_indices]
        overlap = {structure: float(value) for structure, value in outlines.mean_overlaps().items()}
        return ClipSegmentation(prepared.frame_indices, np.stack(labels), overlap, prepared.header.spacing)

    def _segment_by_prompts(self, clip: Clip | str | Path, prompts: Mapping[int, Prompt]) -> ClipSegmentation:
        models = self._interpreter.models
        model = models.encoders[Application.SEGMENTATION]
        segmenter = InteractiveSegmenter(models.segmentation, model, model.digests)
        opened = InteractiveClip.open(segmenter, _source_of(clip))
        header = opened.prepared.header
        labels = np.zeros((opened.frame_count, *header.size), np.uint8)
        for structure in dict.fromkeys(prompt.structure for prompt in prompts.values()):
            of_it = {number: prompt for number, prompt in prompts.items() if prompt.structure is structure}
            masks = {number: _carried(opened, number, prompt) for number, prompt in of_it.items()}
            for frame in range(opened.frame_count):
                nearest = min(masks, key=lambda number: (abs(number - frame), number))
                labels[frame][masks[nearest][frame]] = PROMPTED if structure is None else int(structure)
        return ClipSegmentation(opened.prepared.frame_indices, labels, {}, header.spacing)


def load(name_or_path: str | Path = DEFAULT_SET, *, device: str = "auto", precision: Precision = "auto") -> Model:
    """Load a set of weights once, to ask it often.

    Args:
        name_or_path: name of an installed set (``echoapex models list``), or the folder of one.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: of the encoder: what this machine is fast at (``auto``), ``bf16`` or ``fp32``.

    Raises:
        BundleError: there is no such set, or it is damaged.
        DeviceError: there is no such device here.
    """
    place = choose_device(device)
    chosen = choose_precision(precision, place).name
    interpreter = TaskInterpreter.load(name_or_path, device, chosen)
    paths = find_set(name_or_path)
    advice = advise_patients(paths, f'bundle="{RESEARCH_SET}"')
    return Model(interpreter, paths.name, str(place), advice)


def load_encoder(path: str | Path, *, device: str = "auto", precision: Precision = "auto") -> Encoder:
    """Load an encoder bundle alone, for instance the one that ``echoapex pretrain`` wrote.

    Args:
        path: folder of the bundle (``RUN/bundles/encoder``).
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: what this machine is fast at (``auto``), ``bf16`` or ``fp32``.

    Raises:
        BundleError: there is no such bundle, it is damaged, or its frames are prepared in a way of their own.
        DeviceError: there is no such device here.
    """
    place = choose_device(device)
    bundle = load_bundle(Path(path))
    preparation = bundle.card.preprocessing
    if preparation.rule != "per_frame":
        raise BundleError(
            f"{path}: prepares frames by the rule {preparation.rule!r}; only 'per_frame' can be loaded alone"
        )
    network = build_encoder_from(bundle).to(place).eval().requires_grad_(False)
    return Encoder(network, preparation.size[0], bundle.digest, choose_precision(precision, place).name)


def analyze(
    paths: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    bundle: str | Path = DEFAULT_SET,
    device: str = "auto",
    options: AnalysisOptions | None = None,
    observer: Observer | None = None,
) -> StudyReport:
    """Load a set of weights and analyse one study; see :meth:`Model.analyze`. For many studies, :func:`load` once.

    Research software, not a medical device.

    Args:
        paths: a file, folder, DICOMDIR or zip archive, or several.
        out: folder for the results; nothing is written without one.
        bundle: name or folder of the set of weights.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        options: further choices.
        observer: is told of progress.

    Returns:
        The report; ``report.ef`` is the ejection fraction with its evidence.

    Raises:
        AnalysisError: nothing was given, a path does not exist, ``out`` is a file, or the disk is full.
        BundleError: the weights are missing or damaged.
        DeviceError: there is no such device here.
    """
    require_paths([paths] if isinstance(paths, str | Path) else paths)
    model = load(bundle, device=device, precision=(options or AnalysisOptions()).precision)
    return model.analyze(paths, out, options=options, observer=observer)


def _source_of(clip: Clip | str | Path) -> ClipSource:
    return ClipInMemory(clip) if isinstance(clip, Clip) else open_only_clip(clip)


def _carried(opened: InteractiveClip, number: int, prompt: Prompt) -> Bool[np.ndarray, "frames height width"]:
    """A prompt answered on its frame, and its mask carried through the clip."""
    frame = opened.frame(number)
    earlier = None
    if prompt.structure is not None and (prompt.positive_xy or prompt.negative_xy) and prompt.mask is None:
        earlier = opened.automatic(number, prompt.structure)
    logits = opened.segmenter.segment(frame, prompt, earlier)
    return opened.propagate(number, logits, prompt.structure)


def _patch_centres(transform: FrameTransform, grid: Size) -> Float[np.ndarray, "rows columns 2"]:
    """Centres of patches in native pixels; the first model pixel's edge lies at -0.5."""
    height, width = transform.target_size
    y = (np.arange(grid[0]) + 0.5) * height / grid[0] - 0.5
    x = (np.arange(grid[1]) + 0.5) * width / grid[1] - 0.5
    centres = np.stack(np.meshgrid(x, y), axis=-1)
    return transform.inverse.map_points(centres.reshape(-1, 2)).reshape(*grid, 2)
