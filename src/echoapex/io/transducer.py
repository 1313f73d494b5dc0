"""Which kind of transducer and whose machine made an image: closed lists of words, so that nothing of a name leaks.

Transducer Data (0018,5010) is free text and may hold a serial number, Manufacturer (0008,0070) is free text as well;
only a word of the lists below ever leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TEE = re.compile(
    r"\bTEE\b|TRANSESOPH|\bX[78]-[23]T|\bS7-[23]T|\b6V?T|\bT6|\bV5M|\bZ6M|\bMPT|\bP[34]-?T?EE|\bOMNI ?III", re.I
)
_ICE = re.compile(r"\bICE\b|INTRACARD|ACUNAV|VIEWFLEX|SOUNDSTAR|VERISIGHT", re.I)
_KINDS = (
    ("tee", _TEE),
    ("ice", _ICE),
    ("phased", re.compile(r"SECTOR|PHASED", re.I)),
    ("curved", re.compile(r"CURVED|CONVEX", re.I)),
    ("linear", re.compile(r"LINEAR", re.I)),
)
_VENDORS = (
    ("philips", re.compile(r"PHILIPS|\bATL\b|AGILENT", re.I)),
    ("ge", re.compile(r"\bGE\b|GEMS|G\.?E\.? ?(MEDICAL|HEALTHCARE|VINGMED)|GENERAL ELECTRIC", re.I)),
    ("siemens", re.compile(r"SIEMENS|ACUSON", re.I)),
    ("canon", re.compile(r"CANON|TOSHIBA", re.I)),
    ("fujifilm", re.compile(r"FUJI|HITACHI|ALOKA|SONOSITE", re.I)),
    ("samsung", re.compile(r"SAMSUNG|MEDISON", re.I)),
    ("mindray", re.compile(r"MINDRAY", re.I)),
    ("esaote", re.compile(r"ESAOTE|BIOSOUND", re.I)),
    ("butterfly", re.compile(r"BUTTERFLY", re.I)),
    ("echoapex", re.compile(r"^ECHOAPEX$", re.I)),
)


def probe_kind(transducer_type: Sequence[str], transducer_data: Sequence[str]) -> str:
    """The coarse kind of a transducer: ``tee``, ``ice``, ``phased``, ``curved``, ``linear``, or empty where unknown.

    Args:
        transducer_type: values of TransducerType (0018,6031).
        transducer_data: values of TransducerData (0018,5010), usually a model name.

    >>> probe_kind(["SECTOR_PHASED"], ["X8-2t", "serial 12345"])
    'tee'
    >>> probe_kind([], ["B0FKQX"])
    ''
    """
    text = " ".join([*transducer_type, *transducer_data]).replace("_", " ")
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), "")


def vendor_of(manufacturer: str) -> str:
    """The vendor under one short name: ``philips``, ``ge``...; ``other`` for any other, empty where unknown.

    >>> vendor_of("GE Vingmed Ultrasound"), vendor_of("TOSHIBA_MEC_US"), vendor_of("St. Mary, Ward 3"), vendor_of("")
    ('ge', 'canon', 'other', '')
    """
    if not manufacturer.strip():
        return ""
    text = manufacturer.replace("_", " ")
    return next((vendor for vendor, pattern in _VENDORS if pattern.search(text)), "other")
