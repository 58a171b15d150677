"""Weights become levels.

Without images (`data_free`, `viterbi`), or with feedback of errors (`feedback`, `row_search`, `paths`).
"""
