"""The classes that users fit, ask, save and load."""
