"""Ingest: an archive of echo files becomes a frame store, de-identified, without duplicates, on one machine or many.

``ingest`` plans, hands units of work to an engine, and commits what comes back in the order of the plan.
"""
