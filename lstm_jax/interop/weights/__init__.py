"""Converts tensors of other frameworks to our parameters and back, one file each."""
