"""Segmentation led by a person: clicks on a frame, and propagation to the clip."""
