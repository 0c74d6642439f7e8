"""Frame-level emotional intensity on the feature grid: trained, imported, or deliberately uninformed."""
