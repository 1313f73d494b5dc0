"""One clip: gate, view, outlines, cardiac cycle, volumes and walls."""
