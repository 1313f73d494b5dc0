"""The benchmark card: the score of each sub-task, as a file for programs and a page for people."""
