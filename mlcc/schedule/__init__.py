"""How a kernel is cut for a target: tiles, vector widths, tasks. Bits never depend on it."""
