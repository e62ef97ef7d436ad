"""The `crow` command."""
