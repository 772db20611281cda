"""The core graph: what every model becomes before the target is known."""
