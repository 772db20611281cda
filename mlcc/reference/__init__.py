"""The reference executor: the contract in NumPy and plain C, the first of three witnesses. Shares no code with the kernels."""
