"""The files that an analysis leaves, documented in ``docs/reference/output.md``: one file per output."""
