"""Many trials: which, where, until when."""
