"""Submissions: format, checks, ledger, picks, quota, Kaggle."""
