"""A model folder becomes the files that other programs read: GGUF, int8, a Modelfile, a table."""
