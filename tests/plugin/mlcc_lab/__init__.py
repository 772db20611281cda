"""A third party's plugins, as they might publish them: a backend for a machine of their own with a target, an importer, a packaging and a
pass."""
