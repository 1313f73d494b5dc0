"""Teaches the outline decoder of a view classification, on outlines that a frozen segmentation drew."""

from __future__ import annotations

import torch

from echoapex.data.batch import OutlineBatch
from echoapex.losses.supervised import smoothed_cross_entropy
from echoapex.models.decoders.outline_view import OutlineViewDecoder
from echoapex.tasks.outline_reader import agree
from echoapex.tasks.task import Cases, Loss, Task
from echoapex.tasks.view_classification import fit_temperature


class OutlineViews(Task):
    """The outline decoder alone learns; nothing runs through encoder or segmentation any more."""

    def __init__(self, decoder: OutlineViewDecoder, smoothing: float = 0.1) -> None:
        super().__init__()
        self.decoder = decoder
        self.smoothing = smoothing

    def loss(self, batch: OutlineBatch) -> Loss:
        """Cross-entropy of single frames, label-smoothed."""
        logits = self.decoder(batch.maps.float(), batch.overlap.float())
        return Loss.sum_of([("view", 1.0, smoothed_cross_entropy(logits, batch.view, self.smoothing))])

    @torch.no_grad()
    def cases(self, batch: OutlineBatch) -> Cases:
        """Logits by either witness, and the true view."""
        outlines = self.decoder(batch.maps.float(), batch.overlap.float()).double()
        return {"appearance": batch.appearance.double(), "outlines": outlines, "view": batch.view}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Share of frames whose view is right, by either witness and by both, and the temperature that fits both."""
        appearance, outlines, view = cases["appearance"], cases["outlines"], cases["view"]
        both = agree(appearance, outlines)
        answers = {"appearance": appearance, "outlines": outlines, "frame": both}
        right = {name: (logits.argmax(dim=1) == view).double().mean() for name, logits in answers.items()}
        scores = {f"view_{name}_accuracy": share.item() for name, share in right.items()}
        return scores | {"view_temperature": fit_temperature(both, view)}
