"""Analyses: one file per table or figure. Each reads runs, never models, and has `analyse(runs, folder) -> Path`
(or None where it has nothing to say of these runs)."""
