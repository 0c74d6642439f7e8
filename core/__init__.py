"""One trial: a config goes in, a record comes out. Knows neither Ray nor MLflow nor sweeps."""
