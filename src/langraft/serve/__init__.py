"""Talking to a model: in the terminal, over HTTP, in the browser, about documents."""
