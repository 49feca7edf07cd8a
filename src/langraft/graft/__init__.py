"""Grafting: a model gets the rows of an extended vocabulary, started well."""
