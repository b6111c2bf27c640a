"""The `poselift` command."""
