"""Layers of cells: two directions, stacks, their dropout masks, sequences in pieces."""
