"""Scans: reading files, registration to one grid, and the store of prepared scans."""
