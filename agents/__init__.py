"""Learners, curiosity, objectives, encoders and baselines. They know environments only as spaces."""
