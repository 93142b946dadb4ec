"""Reproduction of the tables of papers. A paper is a directory of configs with a reported.csv."""
