"""Analyses: one file per table or figure. Each reads runs, never models, and has `analyse(runs, folder) -> Path`."""
