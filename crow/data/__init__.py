"""Sequences, examples and forecasts as tensors."""
