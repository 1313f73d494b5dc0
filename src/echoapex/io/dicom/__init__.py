"""DICOM files: header, pixels and writing. Only this package knows the format."""
