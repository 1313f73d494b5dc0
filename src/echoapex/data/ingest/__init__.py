"""Ingest: turns an archive of echo files into a frame store, de-identified, without duplicates, on one machine or many.

``ingest`` plans, gives units of work to an engine, and commits the reports in the order of the plan.
"""
