"""Target descriptions, one TOML file each."""
