"""crow: longitudinal neuroimaging with the conditional recurrent flow."""

__version__ = "0.1.0"
