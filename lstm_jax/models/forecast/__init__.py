"""Forecasts of the next steps of a series.

window.py              what a model reads
instance.py            a window on a scale of its own, and forecasts back on that of the
                       data
series_embedding.py    what is learned of every series
heads.py               what is forecast: one number, or quantiles, and the loss
distributions.py       what is forecast: a distribution of the next value
all_at_once.py         what direct.py and encoder_decoder.py have in common
direct.py              all steps at once, from segments
recursive.py           one step after the other, in paths that are drawn
encoder_decoder.py     all steps at once, from what is known of each ahead
"""
