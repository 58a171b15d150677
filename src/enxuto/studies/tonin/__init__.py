"""The comparison of Tonin 2021: networks, quantizers and data in one study, in the tables of the source."""
