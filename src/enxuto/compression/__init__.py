"""The verb `compress`.

`compress`: the one call, from what callers give (`arguments`) to a `result`. Below it `data_free` works without images,
`at_price` at one price of a bit, `search` within bounds that a `judge` holds models against, `calibrated` from images
(`split`) to the figures reported. `trial_log` keeps trials, so that a search can resume.
"""
