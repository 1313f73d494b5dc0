"""The promptable decoder for the browser: an ONNX file and its card, exported once for each set of weights."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from echoapex.infer.review.onnx_files import OnnxCard, card_path, export_promptable_decoder
from echoapex.models.onnx_graph import OnnxExportError
from echoapex.serve.page.page_parts import PageParts, Parts
from echoapex.serve.page.security import PageError

router = APIRouter(prefix="/decoder", tags=["decoder"])
_BYTES = "application/octet-stream"
_ONE_EXPORT = threading.Lock()
_DIGEST_DIGITS = 24


@router.get("/card.json")
def decoder_card(parts: Parts) -> OnnxCard:
    """Names and shapes of the decoder, the size of its square, structures and digests."""
    return OnnxCard.model_validate_json(card_path(_exported(parts)).read_bytes())


@router.get("/model.onnx", response_class=FileResponse, responses={200: {"content": {_BYTES: {}}}})
def decoder_model(request: Request, parts: Parts) -> Response:
    """The decoder of the current set of weights."""
    path = _exported(parts)
    headers = {"etag": f'"{path.parent.name}"', "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=_BYTES, headers=headers)


def _exported(parts: PageParts) -> Path:
    """The exported file; it is made at the first request."""
    models = parts.models.current_review()
    digests = "\n".join(f"{name} {digest}" for name, digest in sorted(models.digests.items()))
    name = hashlib.sha256(digests.encode()).hexdigest()[:_DIGEST_DIGITS]
    path = parts.config.state / "cache" / "decoder" / name / "decoder.onnx"
    with _ONE_EXPORT:
        if not card_path(path).is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                export_promptable_decoder(models, path)
            except OnnxExportError as error:
                raise PageError(f"the decoder cannot run in the browser: {error}", 503) from None
    return path
