"""Reproduce past submissions, and bundle submissions for notebooks without internet."""
