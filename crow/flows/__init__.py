"""Conditional flows, one per file."""
