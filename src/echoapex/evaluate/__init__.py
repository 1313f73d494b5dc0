"""Evaluation: score written results against the truth of a data set, and make the benchmark card."""
