"""Each check of artifacts and caches by itself, in this process: what `make mutants` holds against changed code."""
