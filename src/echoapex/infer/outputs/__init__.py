"""The output files of an analysis, documented in ``docs/reference/output.md``."""
