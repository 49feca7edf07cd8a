"""Scores of documents: an n-gram model, a linear classifier, a language model; and cuts on them."""
