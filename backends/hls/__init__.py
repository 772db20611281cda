"""FPGAs and ASICs."""
