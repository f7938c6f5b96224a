"""Experiments: worlds and learners wired together, run, measured and compared."""
