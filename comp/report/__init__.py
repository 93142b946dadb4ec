"""The report of a run, a blend, a submission, a study or several runs: one HTML file, and its figures as PNG.

source.py reads what the report is about; each module of sections/ makes one section of it, or None where the section
has no meaning; page.py renders the sections that remain.
"""
