"""The version of mlcc."""

__version__ = "0.1.0"
