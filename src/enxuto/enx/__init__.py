"""The `.enx` file format, all of it and nothing else.

`table`, `payload`, `file`; made by `assemble`, told by `ledger`, checked by `verify`.
"""
