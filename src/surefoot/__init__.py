"""Updates self-hosted Python apps: code, dependencies and database together or not at all."""

__version__ = "0.1.0"
