"""The comparison of five networks in Souza 2020: points, tables beside the published ones."""
