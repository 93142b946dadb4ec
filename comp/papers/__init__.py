"""The papers' tables, measured again: a paper is a folder of configs and a reported.csv."""
