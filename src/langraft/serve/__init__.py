"""Talking to a model folder: `serve.chat` for the terminal. Only its modules import torch."""
