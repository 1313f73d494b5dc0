"""Balancing a frame store for pretraining: which frames are looked at, how they group, how often each is visited."""
