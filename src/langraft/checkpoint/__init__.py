"""Models as ordinary Hugging Face folders: found, read, checked against their tokenizer, written.
No pickle, no remote code.
"""
