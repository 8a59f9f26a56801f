"""What a model computes, as data: a chain of pieces that export writes to a file."""
