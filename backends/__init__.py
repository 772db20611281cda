"""Backends: each turns a loop program into sources, binaries and a way to run them. Third parties register the same way."""
