"""All steps of a cell in parallel over time, by Newton's method.

settings.py    tolerance, limits, full or diagonal Jacobians
solver.py      Newton's method for any recurrence of vectors
packed.py      a cell as such a recurrence
tangents.py    the linear recurrences of the derivatives
backend.py     the backend of `unroll`, and its derivative rule
unroll.py      the public function, which says whether it converged
"""
