"""The one error of this room."""


class MeasureError(ValueError):
    """Something that cannot be measured; the message says what is missing or wrong, and what would help."""
