"""Weights become levels.

Without images (`plain`, `viterbi`), or with feedback of errors (`feedback`, `row_search`, `paths`).
"""
