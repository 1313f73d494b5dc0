"""The encoder, its decoders, and the bundles that store their weights together with their cards."""
