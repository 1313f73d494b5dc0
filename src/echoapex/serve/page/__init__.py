"""The page on which a person reviews what an analysis found: HTTP server, sessions, corrections, exports."""
