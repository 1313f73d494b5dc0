"""The exit codes of every verb."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell learns; stable, documented in ``docs/reference/output.md``."""

    ALL_GOOD = 0
    USAGE = 2
    SOME_FILES_FAILED = 3
    NOTHING_ANALYSED = 4
    INTERRUPTED = 130
    """Stopped by Ctrl-C, as shells expect (128 + SIGINT)."""
    TERMINATED = 143
    """Stopped by SIGTERM, as shells expect (128 + SIGTERM)."""
