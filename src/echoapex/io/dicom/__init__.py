"""DICOM: the one room that knows its files, from the header to the pixels, and back to a written object."""
