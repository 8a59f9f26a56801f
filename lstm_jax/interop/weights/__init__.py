"""Tensors of other frameworks to our parameters and back, one file a framework."""
