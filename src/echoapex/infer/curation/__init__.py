"""Curation of a frame store: an encoder looks at a sample, and the store is weighted by what it sees."""
