"""One file a cell, the contract that every cell keeps, and cells around a cell.

``cell.py`` says what a cell is, ``lstm.py`` is the first to read.
"""
