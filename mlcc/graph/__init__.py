"""The core graph: few operators, static shapes, constants folded; its digest is the program's identity."""
