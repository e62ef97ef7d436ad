"""Presets of settings, installed as `crow.configs`: ``--config published`` finds one by name."""
