"""Tokenizers: learn pieces on top of a base, write them, prove the promises. No torch here."""
