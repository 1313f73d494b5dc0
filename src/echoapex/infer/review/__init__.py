"""Review of an analysis by a person: answer clicks, take corrections, compute again, keep what was corrected."""
