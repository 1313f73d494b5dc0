"""The encoder, its decoders, and the bundles in which their weights travel with their cards."""
