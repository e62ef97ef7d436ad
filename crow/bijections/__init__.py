"""Exact invertible maps, and the priors that they end in."""
