"""The artifact: a folder to link against, the same as an OCI image layout, signed."""
