"""Files: every reader gives a ``ClipSource`` or one clear ``ReadError``; every writer writes a whole file or nothing.

Only what all readers share is exported here, so that ``import echoapex.io`` loads no DICOM or video library. Clips are
found and opened with ``echoapex.io.study_files``; a single DICOM file is opened with ``echoapex.io.dicom.reader``.
"""

from echoapex.io.clip_source import ClipSource, ReadError, ReadFlag, ReadLimits, load_clip

__all__ = ["ClipSource", "ReadError", "ReadFlag", "ReadLimits", "load_clip"]
