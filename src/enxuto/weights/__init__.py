"""What the weights of a model look like: distributions, dependence, tables and charts of both."""
