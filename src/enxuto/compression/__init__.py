"""The verb `compress`.

Without images (`plain`), at a price for bits (`at_price`), within a bound (`search`, `calibrated`).
"""
