"""YAML configs to checked settings."""
