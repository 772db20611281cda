"""Programs that measure mlcc beside its peers in one run; docs/performance.md is written by them, never by hand."""
