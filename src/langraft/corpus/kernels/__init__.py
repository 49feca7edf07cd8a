"""Compiled loops over UTF-8 bytes: each works on a `Texts`, releases the interpreter's lock, and is
compiled once and kept on disk by numba.
"""
