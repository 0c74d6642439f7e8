"""Tracking: trials write to a local, durable journal; an uploader fills MLflow from it, each event exactly once."""
