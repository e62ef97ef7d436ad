"""Representations: two-way maps between visits (regions or scans) and the tensors that flows model."""
