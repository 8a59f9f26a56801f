"""Reports of trained runs: one HTML file each, which needs no network.

elements.py        what a report is made of: charts, tables, texts
charts.py          where lines, bands and ticks of a chart are drawn
page.py            elements to HTML, with the template, the style and the script
curves.py          metrics over the steps of training
gates.py           gates, states and gradients of a run on an example of its data
samples.py         what the task can show: texts, forecasts, translations, transcripts
one_run.py         the report of a run
several_runs.py    the report that compares runs
page.html          the template
page.css, page.js  how it looks, and what it does when one points at a chart
"""
