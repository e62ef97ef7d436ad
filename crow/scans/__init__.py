"""Scans: files, one grid, and the store between them."""
