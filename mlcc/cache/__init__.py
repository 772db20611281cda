"""Content-addressed results of build actions."""
