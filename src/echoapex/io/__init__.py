"""Files: every reader gives a ``ClipSource`` or one clear ``ReadError``, every writer writes whole or not at all.

Only what all readers share is exported here, so that asking for it imports no DICOM or video library; the readers are
``echoapex.io.study_files``, ``echoapex.io.study_files``, ``echoapex.io.dicom.reader`` and their neighbours.
"""

from echoapex.io.clip_source import ClipSource, ReadError, ReadFlag, ReadLimits, load_clip

__all__ = ["ClipSource", "ReadError", "ReadFlag", "ReadLimits", "load_clip"]
