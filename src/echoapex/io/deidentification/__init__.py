"""De-identification of ultrasound DICOM: header, pixels, file names, and the proof of what was done."""
