"""Translation validation: whether a loop program computes, at each address, what its core graph says. Shares no code with the lowering."""
