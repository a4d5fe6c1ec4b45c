"""The version, which all three wheels share."""

__version__ = "0.2.0"
