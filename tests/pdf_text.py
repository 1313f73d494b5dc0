"""The text of a PDF that reportlab wrote: its page streams, unpacked, and the strings that they show."""

from __future__ import annotations

import base64
import re
import zlib

_STREAM = re.compile(rb"<<([^>]*(?:>(?!>)[^>]*)*)>>\s*stream\r?\n(.*?)endstream", re.DOTALL)
_SHOWN = re.compile(rb"\(((?:\\.|[^\\()])*)\)\s*Tj")


def unpacked_streams(pdf: bytes) -> list[bytes]:
    """Every stream of the file without its filters, except the pictures, which are JPEG."""
    found = []
    for dictionary, packed in _STREAM.findall(pdf):
        if b"/DCTDecode" in dictionary:
            continue
        content = packed
        if b"/ASCII85Decode" in dictionary:
            content = base64.a85decode(b"<~" + content.strip(), adobe=True)
        if b"/FlateDecode" in dictionary:
            content = zlib.decompress(content)
        found.append(content)
    return found


def page_texts(pdf: bytes) -> list[str]:
    """The text of each page; words that are drawn one by one are joined by spaces."""
    pages = []
    for stream in unpacked_streams(pdf):
        shown = _SHOWN.findall(stream)
        if shown:
            pages.append(b" ".join(re.sub(rb"\\(.)", rb"\1", each) for each in shown).decode("latin-1"))
    return pages
