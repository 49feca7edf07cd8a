"""Measuring: bits per byte, per UTF-8 byte of text so that models with different tokenizers
compare.
"""
