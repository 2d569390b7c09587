"""Train one adapter: one typed configuration, one entry point, `python -m training_jobs.train`."""
