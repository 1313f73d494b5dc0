"""From clips to a report: the gate, the analysis of one clip, the study, and the output files."""
