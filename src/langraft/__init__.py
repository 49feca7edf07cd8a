"""langraft teaches an existing open language model a new language."""

__version__ = "0.1.0"
