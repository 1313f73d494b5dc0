"""How often pretraining visits each frame, so that rare views count: embed, cluster, balance, select, report."""
