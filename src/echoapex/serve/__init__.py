"""The DICOM network node and the DICOMweb client: studies come in, and results go back, once each, despite crashes."""
