"""Descriptions of models: a chain of pieces that an export writes to a file."""
