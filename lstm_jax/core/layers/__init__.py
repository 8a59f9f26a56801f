"""Layers of cells: bidirectional layers, stacks, dropout masks, streams."""
