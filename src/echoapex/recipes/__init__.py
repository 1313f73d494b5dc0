"""What can be trained: one file per kind of run, the recipes in YAML, and the runner."""
