"""Each system as a short chain of stages."""
