"""The benchmark card: what was scored, sub-task by sub-task, as a file for programs and a page for people."""
