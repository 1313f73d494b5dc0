"""The only door to FFmpeg's readers: opened bytes in, never a name, and only the formats that a clip can have.

FFmpeg takes a name such as ``http:...`` or ``pipe:0`` for an address, and some formats (playlists) hold addresses of
their own. It is therefore given an opened file and an allow-list of formats, and no protocol at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from typing import Any, BinaryIO, cast

import av

_READ_BYTES = 1 << 18
_NO_PROTOCOL = "none"


@contextmanager
def open_media(stream: BinaryIO | RawIOBase, formats: Sequence[str]) -> Iterator[Any]:
    """An opened container, to be decoded.

    Args:
        stream: the bytes, at their start; seekable.
        formats: FFmpeg's names of the formats that may be tried; a single one is taken without a look.

    Raises:
        av.FFmpegError: the bytes are of none of the formats.
    """
    options = {"format_whitelist": ",".join(formats), "protocol_whitelist": _NO_PROTOCOL}
    only = formats[0] if len(formats) == 1 else None
    with av.open(
        cast(Any, stream), mode="r", format=only, options=options, buffer_size=_READ_BYTES, io_open=_refuse
    ) as container:
        yield container


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    """No file leads to another one."""
    raise PermissionError("a media file may not open another one")
