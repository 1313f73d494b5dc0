"""What can be trained: a file for each kind of run beside the recipes in YAML, and the runner of them all."""
