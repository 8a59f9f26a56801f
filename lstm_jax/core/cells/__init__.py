"""The cells, one file each, the rules for a cell, and wrappers around a cell.

``cell.py`` defines what a cell is. Read ``lstm.py`` first.
"""
