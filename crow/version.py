"""The version of crow, importable by every module of the package."""

__version__ = "0.1.0"
