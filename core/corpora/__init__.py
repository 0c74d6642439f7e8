"""Disk → checked Manifest → Folds."""
