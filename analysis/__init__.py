"""Records in; tables, figures and sentences out. Knows neither torch nor Ray."""
