"""Reading and arranging data, in numpy."""
