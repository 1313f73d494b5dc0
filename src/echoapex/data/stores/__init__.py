"""Stores of prepared frames and clips: what training reads."""
