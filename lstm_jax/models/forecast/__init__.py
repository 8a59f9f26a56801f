"""Forecasts of the next steps of a series.

instance.py    a window on a scale of its own, and forecasts back on that of the data
heads.py       what is forecast: one number, or quantiles, and the loss
direct.py      all steps at once, from segments
"""
