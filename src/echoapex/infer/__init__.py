"""From clips to a report: the gate, one clip at a time, the study, and the files that a person is left with."""
